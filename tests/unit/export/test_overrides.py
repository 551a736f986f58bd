"""config.overrides.pbtxt over a generated configuration: what is replaced, merged, removed, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pytest
from support.environment import ROOT
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.triton_config.fields_text import config_text
from avizor_export.triton_config.overrides import Overrides, read_overrides
from avizor_export.triton_config.settings import ServingSettings
from avizor_inference.errors import ExportError, RepositoryError
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.triton_config import OVERRIDES_FILE, parse_config

IMAGE = TensorSpec(name="image", dtype="uint8", item_shape=(32, 32, 1))
PROBABILITIES = TensorSpec(name="probabilities", dtype="float32", item_shape=(10,))
SETTINGS = ServingSettings(
    target="tensorrt", preferred_batch_sizes=(4, 8), instances=2, intra_op_threads=3, queue_timeout_ms=5, response_cache=True
)
GENERATED = config_text("digits", [IMAGE], [PROBABILITIES], SETTINGS, labels=True, digests={1: "1a" * 32})


def merged_text(overrides: str, asked: Collection[str] = ()) -> str:
    return Overrides(Path("m", OVERRIDES_FILE), overrides).text_over(GENERATED, SETTINGS, asked)


def merged(overrides: str) -> ModelConfig:
    return parse_config(merged_text(overrides), "merged")


def accelerator_parameters(config: ModelConfig) -> dict[str, str]:
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    return dict(accelerator.parameters)


def accelerator(parameters: str, name: str = "tensorrt") -> str:
    return f'optimization {{ execution_accelerators {{ gpu_execution_accelerator [ {{ name: "{name}" {parameters} }} ] }} }}'


@pytest.mark.parametrize("overrides", ["", "# Ask Ana before changing this.\n", "max_batch_size: 64\n"])
def test_overrides_that_change_nothing_leave_the_generated_text_as_it_is(overrides: str) -> None:
    assert merged_text(overrides) == GENERATED


def test_a_value_replaces_the_generated_one_and_its_neighbours_stay() -> None:
    batching = merged("dynamic_batching { max_queue_delay_microseconds: 7, priority_levels: 2 }").dynamic_batching
    assert (batching.max_queue_delay_microseconds, batching.priority_levels) == (7, 2)
    assert list(batching.preferred_batch_size) == [4, 8]
    assert batching.default_queue_policy.default_timeout_microseconds == 5000


def test_a_timeout_may_be_finer_than_the_option() -> None:
    policy = "dynamic_batching { default_queue_policy { default_timeout_microseconds: 4500 } }"
    assert merged(policy).dynamic_batching.default_queue_policy.default_timeout_microseconds == 4500


def test_zero_and_false_replace_a_generated_value_too() -> None:
    config = merged("dynamic_batching { max_queue_delay_microseconds: 0 } response_cache { enable: false }")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert not config.response_cache.enable


def test_a_list_replaces_the_generated_one_as_a_whole_at_any_depth() -> None:
    config = merged(
        "instance_group [ { kind: KIND_GPU, count: 1, gpus: [ 1 ] }, { kind: KIND_CPU, count: 2 } ]\n"
        "dynamic_batching { preferred_batch_size: [ 16 ] }\n"
    )
    assert [(group.count, list(group.gpus)) for group in config.instance_group] == [(1, [1]), (2, [])]
    assert list(config.dynamic_batching.preferred_batch_size) == [16]


def test_an_empty_list_removes_the_generated_one() -> None:
    assert list(merged("model_warmup: []").model_warmup) == []
    assert list(merged("# why\nmodel_warmup [ ]  # they take long").model_warmup) == []


def test_an_empty_list_where_it_would_remove_nothing_is_refused() -> None:
    with pytest.raises(ExportError, match=r"m/config\.overrides\.pbtxt: an empty list .*; preferred_batch_size is within"):
        merged_text("dynamic_batching {\n  preferred_batch_size: []\n}")


def test_parameters_are_merged_by_key_and_an_empty_one_is_removed() -> None:
    parameters = merged(
        'parameters { key: "enable_mem_arena", value: { string_value: "0" } }\n'
        'parameters [ { key: "intra_op_thread_count", value: { string_value: "" } } ]\n'
    ).parameters
    assert {key: value.string_value for key, value in parameters.items()} == {
        "enable_mem_arena": "0",
        "avizor_model_sha256_1": "1a" * 32,
    }


def test_parameters_of_tensorrt_are_merged_by_key_and_follow_the_version_otherwise() -> None:
    before = accelerator_parameters(merged(""))
    own = 'parameters { key: "precision_mode" value: "FP16" } parameters { key: "max_workspace_size_bytes" value: "9" }'
    removed = " ".join(f'parameters {{ key: "trt_profile_{bound}_shapes" value: "" }}' for bound in ("min", "opt", "max"))
    after = accelerator_parameters(merged(accelerator(own + removed)))
    assert (after["precision_mode"], after["max_workspace_size_bytes"]) == ("FP16", "9")
    assert after["trt_engine_cache_path"] == before["trt_engine_cache_path"]
    assert not any(key.startswith("trt_profile") for key in after)


def test_an_accelerator_of_another_name_is_added() -> None:
    config = merged(accelerator("", name="auto_mixed_precision"))
    names = [each.name for each in config.optimization.execution_accelerators.gpu_execution_accelerator]
    assert names == ["tensorrt", "auto_mixed_precision"]


def test_a_version_policy_is_one_choice() -> None:
    assert merged("version_policy { latest { num_versions: 2 } }").version_policy.latest.num_versions == 2


def test_what_is_not_overridden_keeps_its_text_and_comments_and_the_rest_is_at_the_end() -> None:
    text = merged_text(
        "instance_group [ { kind: KIND_GPU, count: 2, gpus: [ 1 ] } ]\nversion_policy { all {} }\nmodel_warmup: []"
    )
    generated, own = text.split(f"# With what {OVERRIDES_FILE} sets:\n")
    assert "# Requests that arrive within the delay share one run of the model.\ndynamic_batching {" in generated
    assert "instance_group" not in generated
    assert "model_warmup" not in text
    assert [field.name for field, _ in parse_config(own, "own").ListFields()] == ["version_policy", "instance_group"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ('name: "other"', "changes name: export determines it; take it out"),
        ('backend: "python"', "changes backend: export"),
        ('backend: ""', "changes backend: export"),
        ('platform: "onnxruntime_onnx"', "changes platform: export"),
        ('default_model_filename: "other.onnx"', "changes default_model_filename: export"),
        ('input [ { name: "image", data_type: TYPE_FP32, dims: [ 32, 32, 1 ] } ]', "changes input: export"),
        ("output: []", "changes output: export"),
        ("max_batch_size: 16", "changes max_batch_size: .* give --max-batch-size to avizor export instead"),
        ("max_batch_size: 0", "changes max_batch_size"),
        ('parameters { key: "avizor_model_sha256_1", value: { string_value: "00" } }', "changes the digest of a version"),
        ('parameters { key: "avizor_model_sha256_2", value: { string_value: "00" } }', "changes the digest of a version"),
        ("sequence_batching { max_sequence_idle_microseconds: 9 }", "sets sequence_batching, which does not fit"),
    ],
)
def test_what_export_determines_cannot_be_overridden(overrides: str, message: str) -> None:
    with pytest.raises(ExportError, match=rf"^m/config\.overrides\.pbtxt {message}"):
        merged_text(overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("instance_group [ { kind: KIND_GPU, count: -1 } ]", "instances is -1"),
        ("dynamic_batching { preferred_batch_size: [ 65 ] }", "preferred batch size 65 is over max_batch_size 64"),
        ('parameters { key: "intra_op_thread_count", value: { string_value: "two" } }', "intra_op_thread_count is 'two'"),
    ],
)
def test_a_value_that_is_not_valid_is_refused_with_the_file_to_correct(overrides: str, message: str) -> None:
    with pytest.raises(ExportError, match=rf"^m/config\.overrides\.pbtxt: .*{message}.*; correct it there$"):
        merged_text(overrides)


def test_text_that_cannot_be_parsed_is_refused_with_its_line() -> None:
    with pytest.raises(
        RepositoryError, match=r"^m/config\.overrides\.pbtxt is not a Triton model configuration: line 2, column 1"
    ):
        merged_text("version_policy { all {} }\nversoin_policy { all {} }")


@pytest.mark.parametrize(
    ("overrides", "asked"),
    [
        ("instance_group [ { kind: KIND_GPU, count: 1 } ]", "instances"),
        ("instance_group [ { kind: KIND_GPU, count: 2 }, { kind: KIND_CPU, count: 1 } ]", "instances"),
        ("instance_group [ { kind: KIND_CPU, count: 2 } ]", "target"),
        ("dynamic_batching { max_queue_delay_microseconds: 7 }", "queue_delay_us"),
        ("dynamic_batching { preferred_batch_size: [ 8 ] }", "preferred_batch_sizes"),
        ("dynamic_batching { default_queue_policy { allow_timeout_override: false } }", "allow_timeout_override"),
        ("response_cache { enable: false }", "response_cache"),
        ('parameters { key: "intra_op_thread_count", value: { string_value: "1" } }', "intra_op_threads"),
        ('parameters { key: "avizor_batch_size", value: { string_value: "1" } }', "call_batch_size"),
    ],
)
def test_an_option_that_the_overrides_would_hide_is_refused_and_otherwise_the_override_counts(
    overrides: str, asked: str
) -> None:
    with pytest.raises(ExportError, match=rf"sets {asked} to .*, so that .* would have no effect: take it out there"):
        merged_text(overrides, {asked})
    assert merged_text(overrides, {"max_queue_size"}) != GENERATED


def test_an_override_that_agrees_with_an_option_is_not_in_its_way() -> None:
    group = "instance_group [ { kind: KIND_GPU, count: 2, gpus: [ 1 ] } ]"
    assert parse_config(merged_text(group, {"instances", "target"}), "merged").instance_group[0].gpus == [1]


def test_the_examples_in_the_docs_are_accepted() -> None:
    policy, profiles = re.findall(r"^```\n(.*?)^```$", (ROOT / "docs/targets.md").read_text(), re.MULTILINE | re.DOTALL)
    config = merged(policy)
    assert config.version_policy.HasField("all")
    assert list(config.model_warmup) == []
    assert not any(key.startswith("trt_profile") for key in accelerator_parameters(merged(profiles)))


def test_a_model_without_the_file_has_no_overrides(tmp_path: Path) -> None:
    assert read_overrides(tmp_path / "m") == Overrides(tmp_path / "m" / OVERRIDES_FILE)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / OVERRIDES_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(ExportError, match=r"config\.overrides\.pbtxt cannot be read .*; make it readable, or delete it"):
        read_overrides(tmp_path)
