"""engines/triton.py: what computes a model is read from the configuration that the server returns after it has loaded it."""

from __future__ import annotations

import pytest

from avizor_inference.engines.triton import _spec, engine_of_config
from avizor_inference.errors import VersionRefused
from avizor_inference.repository.triton_config import parse_config

CPU, GPU = "instance_group [ { kind: KIND_CPU } ]", "instance_group [ { kind: KIND_GPU } ]"


def tensorrt(mode: str) -> str:
    parameters = f'parameters {{ key: "precision_mode", value: "{mode}" }}' if mode else ""
    accelerator = f'gpu_execution_accelerator [ {{ name: "tensorrt" {parameters} }} ]'
    return f"optimization {{ execution_accelerators {{ {accelerator} }} }}"


OPENVINO = 'optimization { execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] } }'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CPU, ("onnxruntime-cpu", None)),
        (GPU, ("onnxruntime-cuda", None)),
        (GPU + tensorrt("FP32"), ("tensorrt", None)),
        (GPU + tensorrt(""), ("tensorrt", None)),
        (GPU + tensorrt("FP16"), ("tensorrt", "fp16")),
        (GPU + tensorrt("bf16"), ("tensorrt", "bf16")),
        (GPU + tensorrt("INT8"), ("tensorrt", "int8")),
        (CPU + tensorrt("FP16"), ("onnxruntime-cpu", None)),
        (CPU + OPENVINO, ("openvino", None)),
        (GPU + OPENVINO, ("onnxruntime-cuda", None)),
        (GPU + 'platform: "tensorrt_plan"', ("tensorrt", None)),
        (CPU + 'backend: "openvino"', ("openvino", None)),
    ],
)
def test_the_class_and_precision_of_a_loaded_model(text: str, expected: tuple[str, str | None]) -> None:
    backend = "" if "backend" in text or "platform" in text else 'backend: "onnxruntime"'
    assert engine_of_config(parse_config(text + backend, "config")) == expected


@pytest.mark.parametrize("text", ["", "max_batch_size: -1"])
def test_a_model_that_triton_runs_without_batches_is_refused(text: str) -> None:
    with pytest.raises(VersionRefused, match=r"Triton has of model 'm': max_batch_size is (0|-1); it has to be at least 1"):
        _spec(parse_config(text + ' backend: "onnxruntime"', "config"), "m", 1)
