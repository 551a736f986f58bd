"""ort_session.py: what ONNX Runtime says of a failure, as a person can use it, and which GPU a session gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from support.lookup_model import write_lookup

from avizor_inference.engines import ort_session
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.ort_session import gpu_full, runtime_reason
from avizor_inference.error_text import lacks_memory
from avizor_inference.errors import SettingsError, VersionRefused

# As an H100 without free memory gave it.
SIGNATURE = (
    "/onnxruntime_src/cuda_call.cc:154 std::conditional_t<THRW, void, onnxruntime::common::Status> onnxruntime::CudaCall(" * 4
)
OUT_OF_MEMORY = (
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=vm ; file=cuda_execution_provider.cc ; line=355 ; expr=cudaSetDevice(); "
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SIGNATURE + OUT_OF_MEMORY, "CUDA failure 2: out of memory"),
        (
            SIGNATURE + "CUDNN failure 4000: CUDNN_STATUS_INTERNAL_ERROR ; GPU=0",
            "CUDNN failure 4000: CUDNN_STATUS_INTERNAL_ERROR",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL :\n  no such node", "[ONNXRuntimeError] : 1 : FAIL : no such node"),
    ],
)
def test_the_words_of_cuda_are_found_behind_those_of_cpp(text: str, expected: str) -> None:
    assert runtime_reason(RuntimeError(text)) == expected


# As ONNX Runtime's allocator says it, on a CPU and on a GPU.
ARENA = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Name:'"
    + "/network/features" * 20
    + "' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for "
    "requested buffer of size 8388608000"
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SIGNATURE + OUT_OF_MEMORY, "CUDA failure 2: out of memory"),
        (ARENA, "requested buffer of size 8388608000"),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0", "CUBLAS_STATUS_ALLOC_FAILED"),
        (
            "CUDNN failure 4003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ;",
            "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        ),
    ],
)
def test_a_full_gpu_is_said_in_words_and_is_no_lack_of_this_machines_memory(text: str, found: str) -> None:
    full = gpu_full("model 'a'", RuntimeError(text))
    assert full is not None
    assert str(full).startswith(f"the GPU has no memory left for model 'a' ({found}); stop other programs on it, use fewer")
    full.__cause__ = RuntimeError(text)
    assert not lacks_memory(full)


def test_another_failure_is_no_full_gpu() -> None:
    assert gpu_full("model 'a'", RuntimeError("CUDA failure 700: an illegal memory access was encountered")) is None


@pytest.mark.parametrize("gpu", [1, 7])
def test_a_gpu_that_is_not_there_is_refused_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: int) -> None:
    monkeypatch.setattr(ort_session, "gpus", lambda: 1)
    write_lookup(tmp_path, f"instance_group [ {{ kind: KIND_GPU, count: 1, gpus: [ {gpu} ] }} ]")
    message = f"model 'lookup' asks for GPU {gpu}, and the NVIDIA driver shows 1 to this process, counted from 0; name another"
    with EmbeddedEngine(tmp_path) as engine, pytest.raises(SettingsError, match=message):
        engine.spec("lookup")


def test_a_model_runs_on_the_first_gpu_that_its_config_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ONNX Runtime is asked for: this machine may have no GPU, or one."""
    asked: list[Any] = []

    def refuse(graph: object, options: object, providers: list[Any], **_: object) -> None:
        asked.extend(providers)
        raise RuntimeError("enough")

    monkeypatch.setattr(ort_session, "gpus", lambda: 3)
    monkeypatch.setattr(ort, "InferenceSession", refuse)
    write_lookup(tmp_path, "instance_group [ { kind: KIND_GPU, gpus: [ 2, 1 ] } ]")
    with EmbeddedEngine(tmp_path) as engine, pytest.raises(VersionRefused, match="enough"):
        engine.spec("lookup")
    (name, settings), _ = asked
    assert (name, settings["device_id"], settings["use_tf32"]) == (ort_session.CUDA, "2", "0")
