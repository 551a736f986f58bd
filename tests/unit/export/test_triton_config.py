"""config.pbtxt for each target and setting: parsed by Triton's schema, read back, readable, and checked by the load rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import text_format
from support.environment import ROOT
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup, ModelQueuePolicy

from avizor_export.triton_config.fields_text import ENGINE_CACHE, config_text
from avizor_export.triton_config.settings import ServingOptions, ServingSettings, serving_of, shown, with_options
from avizor_inference.checks.triton_rules import load_problems
from avizor_inference.errors import ExportError
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.manifest import Precision
from avizor_inference.repository.onnx_graph import Graph, GraphTensor

IMAGE = TensorSpec(name="image", dtype="uint8", item_shape=(32, 32, 1))
PROBABILITIES = TensorSpec(name="probabilities", dtype="float32", item_shape=(10,))
DIGESTS = {1: "1a" * 32, 2: "2b" * 32}
GRAPH = Graph(
    inputs=(GraphTensor("image", "uint8", (None, 32, 32, 1)),),
    outputs=(GraphTensor("probabilities", "float32", (None, 10)),),
    ir_version=10,
    opsets={"": 18},
    external_data=False,
)


def text(serving: ServingSettings, precision: Precision = "fp32", image: TensorSpec = IMAGE) -> str:
    return config_text("digits", [image], [PROBABILITIES], serving, labels=True, digests=DIGESTS, precision=precision)


def parsed(serving: ServingSettings, precision: Precision = "fp32") -> ModelConfig:
    return text_format.Parse(text(serving, precision), ModelConfig())


def tensorrt_parameters(config: ModelConfig) -> dict[str, str]:
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    return dict(accelerator.parameters)


EVERYTHING = ServingSettings(
    target="tensorrt",
    max_batch_size=32,
    preferred_batch_sizes=(4, 16),
    instances=2,
    queue_delay_us=250,
    max_queue_size=100,
    queue_timeout_ms=200,
    queue_timeout_action="delay",
    allow_timeout_override=False,
    response_cache=True,
    intra_op_threads=3,
    call_batch_size=16,
)


@pytest.mark.parametrize(
    "serving",
    [ServingSettings(), EVERYTHING, *(ServingSettings(target=target) for target in ("auto", "cpu", "gpu", "tensorrt"))],
    ids=lambda serving: serving.target,
)
def test_what_is_written_is_read_back_and_loads(serving: ServingSettings) -> None:
    config = parsed(serving)
    assert serving_of(config) == replace(serving, intra_op_threads=serving.intra_op_threads or 0)
    assert list(load_problems(config, GRAPH)) == []
    assert config.backend == "onnxruntime"
    assert config.input[0].dims == [32, 32, 1]
    assert config.output[0].label_filename == "labels.txt"
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, serving.max_batch_size]
    assert config.parameters["avizor_model_sha256_2"].string_value == DIGESTS[2]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("auto", ModelInstanceGroup.KIND_AUTO),
        ("cpu", ModelInstanceGroup.KIND_CPU),
        ("gpu", ModelInstanceGroup.KIND_GPU),
        ("tensorrt", ModelInstanceGroup.KIND_GPU),
    ],
)
def test_each_target_has_its_kind(target: Any, kind: int) -> None:
    (group,) = parsed(ServingSettings(target=target, instances=3)).instance_group
    assert (group.kind, group.count) == (kind, 3)


def test_settings_land_where_triton_reads_them() -> None:
    config = parsed(EVERYTHING)
    batching, policy = config.dynamic_batching, config.dynamic_batching.default_queue_policy
    assert list(batching.preferred_batch_size) == [4, 16]
    assert batching.max_queue_delay_microseconds == 250
    assert policy.max_queue_size == 100
    assert policy.default_timeout_microseconds == 200_000
    assert policy.timeout_action == ModelQueuePolicy.DELAY
    assert not policy.allow_timeout_override
    assert config.response_cache.enable
    assert config.parameters["intra_op_thread_count"].string_value == "3"
    assert parsed(replace(EVERYTHING, allow_timeout_override=True)).dynamic_batching.default_queue_policy.allow_timeout_override


def test_tensorrt_has_one_profile_for_all_batches_and_engines_of_its_own_weights() -> None:
    parameters = tensorrt_parameters(parsed(EVERYTHING))
    assert parameters["trt_profile_min_shapes"] == "image:1x32x32x1"
    assert parameters["trt_profile_opt_shapes"] == "image:16x32x32x1"
    assert parameters["trt_profile_max_shapes"] == "image:32x32x32x1"
    assert parameters["trt_engine_cache_enable"] == "1"
    assert parameters["trt_engine_cache_path"] == f"{ENGINE_CACHE}/digits-{DIGESTS[2][:16]}"
    assert tensorrt_parameters(parsed(ServingSettings(target="tensorrt")))["trt_profile_opt_shapes"] == "image:64x32x32x1"


@pytest.mark.parametrize(("precision", "mode"), [("fp32", "FP32"), ("fp16", "FP16"), ("int8", "INT8")])
def test_tensorrt_works_in_the_precision_of_the_model(precision: Precision, mode: str) -> None:
    assert tensorrt_parameters(parsed(EVERYTHING, precision))["precision_mode"] == mode


def test_a_model_that_is_loaded_for_a_moment_leaves_no_engine_behind() -> None:
    config = config_text("digits", [IMAGE], [PROBABILITIES], EVERYTHING, labels=False, digests={})
    assert "trt_engine_cache" not in config
    assert "trt_profile_max_shapes" in config


def test_the_stack_keeps_engines_where_the_config_says() -> None:
    gpu = (ROOT / "docker-compose.gpu.yml").read_text()
    assert f":{ENGINE_CACHE}\n" in gpu


def test_it_can_be_read_by_people() -> None:
    plain, full = text(ServingSettings()), text(EVERYTHING)
    assert "# KIND_AUTO: a GPU if the server has one, else the CPU." in plain
    for absent in ("default_queue_policy", "response_cache", "optimization", "preferred_batch_size", "intra_op"):
        assert absent not in plain
    for why in (
        "# KIND_GPU: TensorRT",
        "# One engine for all batch sizes",
        "# If more requests than this wait",
        "is run last",
        "--cache-config",
    ):
        assert why in full
    assert max(map(len, full.splitlines())) < 200


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "tpu"}, "target is 'tpu'; choose one of auto, cpu, gpu, tensorrt"),
        ({"max_batch_size": 0}, "max_batch_size is 0"),
        ({"max_batch_size": 2**31}, "max_batch_size is 2147483648; give a whole number from 1 to 2147483647"),
        ({"instances": 0}, "instances is 0; give a whole number from 1 to 2147483647"),
        ({"instances": 1.5}, "instances is 1.5"),
        ({"queue_delay_us": -1}, "queue_delay_us is -1"),
        ({"max_queue_size": -5}, "max_queue_size is -5"),
        ({"queue_timeout_ms": -1}, "queue_timeout_ms is -1"),
        ({"queue_timeout_action": "drop"}, "queue_timeout_action is 'drop'; choose one of reject, delay"),
        ({"intra_op_threads": -2}, "intra_op_threads is -2"),
        ({"intra_op_threads": False}, "intra_op_threads is False"),
        ({"call_batch_size": -1}, "call_batch_size is -1"),
        ({"preferred_batch_sizes": (8, 65)}, "preferred batch size 65 is over max_batch_size 64"),
        ({"preferred_batch_sizes": (0,)}, "preferred_batch_sizes is 0"),
        ({"preferred_batch_sizes": (8, 4)}, "have to differ and ascend"),
    ],
)
def test_a_setting_that_is_not_valid_is_named_with_its_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message.replace("(", r"\(")):
        ServingSettings(**values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ServingOptions(preferred_batch_sizes=(65,)), "preferred batch size 65 is over max_batch_size 64"),
        (ServingOptions(queue_timeout_action="delay"), "^--queue-timeout-action has no effect without --queue-timeout-ms"),
        (ServingOptions(allow_timeout_override=False), "^--no-timeout-override has no effect"),
        (ServingOptions(allow_timeout_override=True), "^--timeout-override has no effect"),
        (ServingOptions(queue_timeout_action="delay", queue_timeout_ms=0), "give --queue-timeout-ms too"),
    ],
)
def test_options_that_do_not_fit(options: ServingOptions, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        with_options(ServingSettings(), options)
    usual = ServingSettings(queue_timeout_ms=3)
    assert with_options(usual, ServingOptions(queue_timeout_action="delay")).queue_timeout_action == "delay"


def test_preferred_sizes_give_way_to_a_smaller_largest_batch_and_zero_removes_them() -> None:
    before = ServingSettings(preferred_batch_sizes=(4, 8))
    assert with_options(before, ServingOptions(max_batch_size=6)).preferred_batch_sizes == (4,)
    assert with_options(before, ServingOptions(preferred_batch_sizes=(0,))).preferred_batch_sizes == ()


def test_a_tensor_that_tensorrts_profiles_cannot_name() -> None:
    image = TensorSpec(name="serving:0", dtype="uint8", item_shape=(32, 32, 1))
    with pytest.raises(ExportError, match="'serving:0': TensorRT's profiles cannot name it"):
        text(EVERYTHING, image=image)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('name: "tensorrt"', 'name: "tensorflow"', "gpu_execution_accelerator is 'tensorflow'"),
        ('"precision_mode", value: "FP32"', '"precision_mode", value: "FP8"', "precision_mode is 'FP8'"),
        ('"precision_mode"', '"precision"', "parameter 'precision' that the backend does not know"),
        (
            '"trt_engine_cache_enable", value: "1"',
            '"trt_engine_cache_enable", value: "yes"',
            "trt_engine_cache_enable is 'yes'",
        ),
        (
            '"trt_engine_cache_enable"',
            '"trt_dla_core", value: "one" }\n  parameters { key: "trt_dla_enable"',
            "trt_dla_core is 'one'",
        ),
        ('"trt_profile_opt_shapes"', '"trt_engine_cache_prefix"', "give all of trt_profile_min_shapes, trt_profile_opt_shapes"),
        ("image:32x32x32x1", "image:16x32x32x1", "batches 1, 16 and 16; they have to span 1 to max_batch_size 32"),
        ("image:1x32x32x1", "image:2x32x32x1", "batches 2, 16 and 32"),
        ("image:16x32x32x1", "image:64x32x32x1", "batches 1, 64 and 32"),
        ("image:16x32x32x1", "image:16x32x32", "do not have image with the dims of the model"),
        ("image:16x32x32x1", "picture:16x32x32x1", "do not have image with the dims of the model"),
        ("image:16x32x32x1", "image", "do not have image with the dims of the model"),
        ('"trt_engine_cache_path"', '"trt_timing_cache_path"', "engine cache has no trt_engine_cache_path"),
        ("max_batch_size: 32", "max_batch_size: 32\nversion_policy { all {} }", "version_policy serves several versions"),
        ("max_batch_size: 32", "max_batch_size: 32\nversion_policy { latest { num_versions: 2 } }", "serves several versions"),
        ('string_value: "3"', 'string_value: "many"', "intra_op_thread_count is 'many'"),
        (
            '"avizor_batch_size", value: { string_value: "16" }',
            '"avizor_batch_size", value: { string_value: "x" }',
            "avizor_batch_size is 'x'",
        ),
        ("kind: KIND_GPU, count: 2", "kind: KIND_CPU, gpus: [ 0 ]", "instance_group is KIND_CPU and names gpus"),
        ("kind: KIND_GPU, count: 2", "kind: KIND_GPU, count: -2", "instance_group has count -2"),
        ("preferred_batch_size: [ 4, 16 ]", "preferred_batch_size: [ 4, 33 ]", "preferred_batch_size 33 is not between"),
    ],
)
def test_what_the_backend_would_refuse_is_found(before: str, after: str, problem: str) -> None:
    whole = text(EVERYTHING)
    assert before in whole, "the test changes nothing"
    config = text_format.Parse(whole.replace(before, after, 1), ModelConfig())
    assert any(problem in found for found in load_problems(config, GRAPH)), list(load_problems(config, GRAPH))


def test_a_setting_without_a_value_is_shown_as_none() -> None:
    assert [shown(value) for value in ("", (), "ort", (8, 32), 0)] == ["none", "none", "ort", "8 32", "0"]
