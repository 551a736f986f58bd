"""ort_session.py: what ONNX Runtime says of a failure, as a person can use it."""

from __future__ import annotations

import pytest

from avizor_inference.engines.ort_session import runtime_reason

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
