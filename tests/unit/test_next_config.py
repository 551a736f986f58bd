"""config.pbtxt of the next version: options over what is there, and every field that a person has set by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.serving.next_config import NextConfig, exported_text, name_to_keep, next_config
from avizor_export.serving.settings import ServingOptions, ServingSettings, serving_of, with_options
from avizor_inference.config import parse_config
from avizor_inference.errors import ExportError
from avizor_inference.manifest import Manifest
from avizor_inference.repository import ModelRepository

DIGESTS = {1: "1a" * 32}
NEXT = {**DIGESTS, 2: "2b" * 32}
KEPT = "config.pbtxt.edited-1"


@pytest.fixture(scope="module")
def first(models: Path) -> Manifest:
    return ModelRepository(models).version("digits").manifest


def following(first: Manifest, before: str | None, **options: object) -> NextConfig:
    second = first.model_copy(update={"version": 2})
    return next_config(before, first, second, ServingOptions(**options), NEXT, KEPT)  # type: ignore[typeddict-item]


def parsed(result: NextConfig) -> ModelConfig:
    return parse_config(result.text, "the next configuration")


def edit(text: str, before: str, after: str) -> str:
    assert before in text, "the test changes nothing"
    return text.replace(before, after, 1)


def test_without_edits_it_is_what_export_writes_and_says_nothing(first: Manifest) -> None:
    serving = ServingSettings(target="cpu", instances=2, preferred_batch_sizes=(4, 8), intra_op_threads=1, call_batch_size=8)
    before = exported_text(first, serving, DIGESTS)
    result = following(first, before, queue_delay_us=7)
    assert result == NextConfig(exported_text(first, replace(serving, queue_delay_us=7), NEXT))
    assert following(first, None, queue_delay_us=7).text == exported_text(first, ServingSettings(queue_delay_us=7), NEXT)


POLICY = "default_queue_policy { default_timeout_microseconds: 500, timeout_action: REJECT }"


@pytest.mark.parametrize(
    ("target", "before", "after", "kept"),
    [
        (
            "auto",
            "max_batch_size: 64",
            "max_batch_size: 64 version_policy { all {} }",
            lambda c: c.version_policy.HasField("all"),
        ),
        (
            "auto",
            "dynamic_batching {",
            "dynamic_batching { priority_levels: 2",
            lambda c: c.dynamic_batching.priority_levels == 2,
        ),
        ("gpu", "count: 1 }", "count: 1, gpus: [ 1 ] }", lambda c: list(c.instance_group[0].gpus) == [1]),
        (
            "gpu",
            "count: 1 }",
            "count: 2 }, { kind: KIND_CPU, count: 1 }",
            lambda c: [g.count for g in c.instance_group] == [2, 1],
        ),
        (
            "auto",
            "dynamic_batching {",
            f"dynamic_batching {{ {POLICY}",
            lambda c: c.dynamic_batching.default_queue_policy.default_timeout_microseconds == 500,
        ),
        (
            "tensorrt",
            '"precision_mode", value: "FP32"',
            '"precision_mode", value: "FP16"',
            lambda c: parameters(c)["precision_mode"] == "FP16",
        ),
        (
            "tensorrt",
            'parameters { key: "trt_engine_cache_enable"',
            'parameters { key: "max_workspace_size_bytes", value: "9" }\n  parameters { key: "trt_engine_cache_enable"',
            lambda c: parameters(c)["max_workspace_size_bytes"] == "9",
        ),
        (
            "auto",
            "model_warmup [ {",
            'model_warmup [ { name: "mine", batch_size: 3 }, {',
            lambda c: c.model_warmup[0].name == "mine",
        ),
        (
            "auto",
            'name: "image",',
            'name: "image", format: FORMAT_NHWC,',
            lambda c: c.input[0].format == c.input[0].FORMAT_NHWC,
        ),
    ],
)
def test_a_field_that_was_set_by_hand_stays_and_the_file_before_is_kept(
    first: Manifest, target: str, before: str, after: str, kept: Callable[[ModelConfig], bool]
) -> None:
    edited = edit(exported_text(first, ServingSettings(target=target), DIGESTS), before, after)  # type: ignore[arg-type]
    result = following(first, edited, intra_op_threads=3)
    config = parsed(result)
    assert kept(config), config
    assert serving_of(config).intra_op_threads == 3
    assert config.parameters["avizor_model_sha256_2"].string_value == NEXT[2]
    assert result.keep_before
    assert result.notes == (
        f"config.pbtxt had been edited: its other fields stay, and as it was, with its comments, it is {KEPT}",
    )
    assert f"with its comments, is {KEPT}" in result.text.splitlines()[0]
    # What avizor wrote has no comments to lose: the next time the edited file stays the one that is named.
    again = next_config(result.text, first, first.model_copy(update={"version": 3}), {}, {**NEXT, 3: "3c" * 32}, "other")
    assert kept(parsed(again))
    assert (again.keep_before, again.notes) == (False, ())
    assert again.text.splitlines()[0] == result.text.splitlines()[0]


def parameters(config: ModelConfig) -> dict[str, str]:
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    return dict(accelerator.parameters)


def test_a_comment_alone_is_kept_in_the_file_before(first: Manifest) -> None:
    before = exported_text(first, ServingSettings(), DIGESTS)
    result = following(first, "# Ask Ana before changing this.\n" + before)
    assert result.text == exported_text(first, ServingSettings(), NEXT)
    assert result.keep_before


def test_an_option_goes_over_an_edit_and_that_is_said(first: Manifest) -> None:
    serving = ServingSettings(target="gpu")
    edited = edit(exported_text(first, serving, DIGESTS), "count: 1 }", "count: 2 }, { kind: KIND_CPU, count: 1 }")
    result = following(first, edited, instances=4)
    assert [group.count for group in parsed(result).instance_group] == [4]
    assert result.keep_before
    assert "replaced by what the options or the new version ask: instance_group" in result.notes[0]
    # GPUs belong to a target that has them.
    edited = edit(exported_text(first, serving, DIGESTS), "count: 1 }", "count: 1, gpus: [ 1 ] }")
    result = following(first, edited, target="cpu")
    assert list(parsed(result).instance_group[0].gpus) == []
    assert result.notes[0].endswith("instance_group")


def test_warm_ups_follow_a_largest_batch_that_was_set_by_hand(first: Manifest) -> None:
    edited = edit(exported_text(first, ServingSettings(), DIGESTS), "max_batch_size: 64", "max_batch_size: 16")
    config = parsed(following(first, edited))
    assert config.max_batch_size == 16
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 16]


def test_the_precision_of_tensorrt_is_that_of_the_version(first: Manifest) -> None:
    before = exported_text(first, ServingSettings(target="tensorrt"), DIGESTS)
    half = first.model_copy(update={"version": 2, "precision": "fp16"})
    assert parameters(parsed(next_config(before, first, half, {}, NEXT, KEPT)))["precision_mode"] == "FP16"


def test_preferred_sizes_give_way_to_a_smaller_largest_batch(first: Manifest) -> None:
    before = exported_text(first, ServingSettings(preferred_batch_sizes=(4, 8)), DIGESTS)
    result = following(first, before, max_batch_size=6)
    assert list(parsed(result).dynamic_batching.preferred_batch_size) == [4]
    assert result.notes == ("preferred batch sizes over the new max_batch_size 6 were dropped: 8",)
    assert not result.keep_before
    assert list(parsed(following(first, before, preferred_batch_sizes=(0,))).dynamic_batching.preferred_batch_size) == []


@pytest.mark.parametrize(
    "broken", ["nonsense {", "max_batch_size: 0", "max_batch_size: 2 dynamic_batching { preferred_batch_size: 8 }"]
)
def test_a_config_that_makes_no_sense_gives_way_and_is_kept(first: Manifest, broken: str) -> None:
    result = following(first, broken, instances=2)
    assert result.text == exported_text(first, ServingSettings(instances=2), NEXT)
    assert result.keep_before
    assert f"the default settings are taken, and the file is kept as {KEPT}" in result.notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ServingOptions(preferred_batch_sizes=(65,)), "preferred batch size 65 is over the largest, max_batch_size 64"),
        (ServingOptions(queue_timeout_action="delay"), "give --queue-timeout-ms too"),
        (ServingOptions(allow_timeout_override=False), "give --queue-timeout-ms too"),
        (ServingOptions(queue_timeout_action="delay", queue_timeout_ms=0), "give --queue-timeout-ms too"),
    ],
)
def test_options_that_do_not_fit(options: ServingOptions, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        with_options(ServingSettings(), options)
    usual = ServingSettings(queue_timeout_ms=3)
    assert with_options(usual, ServingOptions(queue_timeout_action="delay")).queue_timeout_action == "delay"


def test_a_file_that_was_kept_is_never_replaced(tmp_path: Path) -> None:
    assert name_to_keep(tmp_path) == KEPT
    (tmp_path / KEPT).touch()
    assert name_to_keep(tmp_path) == "config.pbtxt.edited-2"
