"""The gateway answers requests of the Open Inference Protocol, good and bad ones, with the codes that a real Triton gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from integration.gateway import Gateway
from integration.open_inference_cases import CASES, OK, STRICTER
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

_OPTIONS = [("grpc.enable_http_proxy", 0)]


@pytest.fixture(scope="module")
def ours(served: Gateway) -> Iterator[Any]:
    with grpc.insecure_channel(served.address, _OPTIONS) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def tritons(triton_address: str) -> Iterator[Any]:
    with grpc.insecure_channel(triton_address, _OPTIONS) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def answer(stub: Any, request: Any) -> tuple[str, str, Any]:
    """Code, details, and the answer."""
    try:
        return OK, "", stub.ModelInfer(request, timeout=30)
    except grpc.RpcError as error:
        return error.code().name, error.details(), None


@pytest.mark.parametrize("case", CASES)
def test_the_code_is_tritons(ours: Any, tritons: Any, case: str) -> None:
    request, code = CASES[case]
    their_code, their_words, their_answer = answer(tritons, request)
    our_code, our_words, our_answer = answer(ours, request)
    assert (their_code, our_code) == (code, code), (their_words, our_words)
    if code == OK:
        for name, (datatype, shape) in outputs(their_answer).items():
            assert outputs(our_answer)[name] == (datatype, shape)
        assert outputs(our_answer).keys() == outputs(their_answer).keys()


@pytest.mark.parametrize("case", STRICTER)
def test_what_triton_would_misread_is_refused(ours: Any, case: str) -> None:
    request, code = STRICTER[case]
    assert answer(ours, request)[0] == code


@pytest.mark.parametrize("case", [case for case, (_, code) in {**CASES, **STRICTER}.items() if code == "INVALID_ARGUMENT"])
def test_a_refusal_names_what_is_wrong(ours: Any, case: str) -> None:
    request, _ = {**CASES, **STRICTER}[case]
    words = answer(ours, request)[1]
    parts = [*(part.name for part in (*request.inputs, *request.outputs) if part.name), *request.parameters]
    assert any(part in words for part in [*parts, "image", "inputs", "output", "version"]), words
    assert len(words) < 400


def outputs(response: pb.ModelInferResponse) -> dict[str, tuple[str, list[int]]]:
    return {output.name: (output.datatype, list(output.shape)) for output in response.outputs}
