"""engines/triton.py: what a server answers that does not speak Triton's protocol, or not for this version of a model."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import numpy as np
import pytest
from support.grpc_proxy import proxy
from tritonclient.grpc import model_config_pb2, service_pb2

from avizor_inference.arrays import Array
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.errors import AvizorError, DeadlineExceeded, EngineError, EngineMismatch, EngineUnavailable

TENSOR = {"data_type": model_config_pb2.TYPE_FP32, "dims": [2]}
CONFIG = model_config_pb2.ModelConfig(
    name="m",
    max_batch_size=4,
    input=[model_config_pb2.ModelInput(name="x", **TENSOR)],
    output=[model_config_pb2.ModelOutput(name="y", **TENSOR), model_config_pb2.ModelOutput(name="z", **TENSOR)],
)
REQUEST = InferRequest("m", {"x": np.zeros((1, 2), np.float32)}, ["y"], version=3)
WAYS = ["submitted", "on a loop"]


def answer(datatype: str = "FP32", shape: tuple[int, ...] = (1, 2), content: bytes = bytes(8), name: str = "y") -> bytes:
    """The bytes of an answer with two outputs, of which the request asked for one."""
    message = service_pb2.ModelInferResponse(model_name="m", raw_output_contents=[bytes(4), content])
    message.outputs.add(name="other", datatype="FP32", shape=[1, 1])
    message.outputs.add(name=name, datatype=datatype, shape=shape)
    return bytes(message.SerializeToString())


class Answering(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Knows one model, and answers every request for it with the same messages: one, unless a test says otherwise."""

    def __init__(self, *answers: bytes) -> None:
        self.answers: dict[str, Sequence[bytes]] = {
            "ModelMetadata": [service_pb2.ModelMetadataResponse(name="m", versions=["3"]).SerializeToString()],
            "ModelConfig": [service_pb2.ModelConfigResponse(config=CONFIG).SerializeToString()],
            "ModelInfer": answers,
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        answers = self.answers[details.method.rpartition("/")[2]]
        return grpc.unary_stream_rpc_method_handler(lambda _request, _context: iter(answers))


def answering(*answers: bytes) -> contextlib.AbstractContextManager[str]:
    return serving(Answering(*answers))


@contextlib.contextmanager
def serving(handler: Answering) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4), [handler], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def asked(address: str, how: str, request: InferRequest = REQUEST) -> dict[str, Array]:
    with TritonEngine(address) as engine:
        if how == "on a loop":
            return asyncio.run(engine.infer_on_loop(request))
        return engine.submit(request).result(20)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("answers", [[b"\xff\xff\xff"], []], ids=["other bytes", "no message"])
def test_what_is_no_answer_at_all_is_an_error_that_says_so(answers: list[bytes], how: str) -> None:
    with (
        answering(*answers) as address,
        pytest.raises(EngineMismatch, match="'m' with what is no message of Triton's"),
    ):
        asked(address, how)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(answer(shape=(1, 3), content=bytes(12)), r"'y' is FP32\[1, 3\], and was to be FP32\[1, 2\]", id="width"),
        pytest.param(answer(shape=(2, 2), content=bytes(16)), r"'y' is FP32\[2, 2\], and was to be FP32\[1, 2\]", id="rows"),
        pytest.param(answer(shape=(2,)), r"'y' is FP32\[2\], and was to be FP32\[1, 2\]", id="one dimension less"),
        pytest.param(answer("INT32"), r"'y' is INT32\[1, 2\], and was to be FP32\[1, 2\]", id="another type of its size"),
        pytest.param(answer("BYTES", content=b"\1\0\0\0a" * 2), r"'y' is BYTES\[1, 2\]", id="texts"),
        pytest.param(answer(content=bytes(7)), r"'y' has 7 bytes, and FP32\[1, 2\] has 8", id="cut off"),
        pytest.param(answer(content=bytes(80)), r"'y' has 80 bytes, and FP32\[1, 2\] has 8", id="too long"),
    ],
)
def test_an_answer_of_another_shape_or_type_is_told_from_that_of_the_version(given: bytes, message: str, how: str) -> None:
    with answering(given) as address, pytest.raises(EngineMismatch, match=message) as caught:
        asked(address, how)
    assert "of model 'm' version 3" in str(caught.value)
    assert address in str(caught.value)


@pytest.mark.parametrize("how", WAYS)
def test_an_answer_in_typed_contents_is_told_from_one_that_is_cut_off(how: str) -> None:
    message = service_pb2.ModelInferResponse(model_name="m")
    message.outputs.add(name="y", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1.5, -2])
    with answering(message.SerializeToString()) as address, pytest.raises(EngineMismatch) as caught:
        asked(address, how)
    assert "with typed contents (InferTensorContents of output 'y'), and Triton answers with raw_output_contents" in str(
        caught.value
    )


@pytest.mark.parametrize("how", WAYS)
def test_an_output_that_is_missing_is_named(how: str) -> None:
    with answering(answer(name="embedding")) as address, pytest.raises(EngineError, match="'m' without y; with response_cache"):
        asked(address, how)


@pytest.mark.parametrize("how", WAYS)
def test_of_an_answer_only_what_was_asked_for_is_returned(how: str) -> None:
    values = np.array([[1.5, -2]], np.float32)
    with answering(answer(content=values.tobytes())) as address:
        found = asked(address, how)
    assert list(found) == ["y"]
    np.testing.assert_array_equal(found["y"], values)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        # of the server, or of what is between: the request was in order
        ("CANCELLED", "the stream was reset", EngineUnavailable),
        ("ABORTED", "another instance took over", EngineUnavailable),
        ("RESOURCE_EXHAUSTED", "quota of the proxy", EngineUnavailable),
        ("UNAVAILABLE", "no upstream", EngineUnavailable),
        ("UNAUTHENTICATED", "the token has expired", EngineUnavailable),
        ("PERMISSION_DENIED", "not from this address", EngineUnavailable),
        ("DEADLINE_EXCEEDED", "upstream request timeout", EngineUnavailable),
        ("UNKNOWN", "Received http2 header with status: 500", EngineUnavailable),
        ("UNIMPLEMENTED", "Received http2 header with status: 404", EngineUnavailable),
        # to wait does not help, and fewer rows may
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (5000000 vs. 4194304)", EngineError),
        ("RESOURCE_EXHAUSTED", "gRPC message exceeds maximum size 4194304: 5000000", EngineError),
        ("UNKNOWN", "Received http2 header with status: 413", EngineError),
        # a request that agrees with the version is refused where another model has its name
        ("INVALID_ARGUMENT", "unexpected shape for input 'x' for model 'm'. Expected [-1,3], got [1,2]", EngineMismatch),
        ("INTERNAL", "onnx runtime error 2", EngineError),
    ],
)
def test_the_codes_of_a_proxy_are_told_from_those_of_the_request(
    code: str, text: str, expected: type[AvizorError], how: str
) -> None:
    with answering(answer()) as address, proxy(address) as between:
        between.failures.append((grpc.StatusCode[code], text))
        with pytest.raises(expected) as caught:
            asked(between.address, how)
        assert type(caught.value) is expected
        assert text in str(caught.value)
        assert asked(between.address, how).keys() == {"y"}


@pytest.mark.parametrize("how", WAYS)
def test_the_deadline_of_a_proxy_is_told_from_that_of_the_caller(how: str) -> None:
    with answering(answer()) as address, proxy(address) as between:
        late = grpc.StatusCode.DEADLINE_EXCEEDED, "upstream request timeout"
        between.failures.append(late)
        with pytest.raises(EngineUnavailable, match="in time: upstream request timeout; if a proxy before it allows less"):
            asked(between.address, how, replace(REQUEST, timeout_s=20))
        is_over = threading.Event()
        between.changed.append(lambda answered: answered if is_over.wait(20) else b"")
        with pytest.raises(DeadlineExceeded, match=r"'m' in time$"):
            asked(between.address, how, replace(REQUEST, timeout_s=0.5))
        is_over.set()


def test_a_server_that_does_not_describe_a_model_in_time_is_away() -> None:
    class Late(Answering):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(
                lambda _request, context: context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "upstream request timeout")
            )

    with serving(Late()) as address, pytest.raises(EngineUnavailable, match="upstream request timeout"):
        asked(address, "submitted")


def test_while_the_versions_are_asked_for_the_newest_one_is_no_older_one() -> None:
    server, seen, is_asked = Answering(answer()), set[int](), threading.Event()
    server.answers["ModelMetadata"] = [
        service_pb2.ModelMetadataResponse(name="m", versions=list(map(str, range(1, 101)))).SerializeToString()
    ]
    with serving(server) as address, TritonEngine(address) as engine:

        def look() -> None:
            while not is_asked.is_set():
                seen.add(engine.spec("m").version)

        engine.spec("m")
        usual, reader = sys.getswitchinterval(), threading.Thread(target=look)
        sys.setswitchinterval(1e-6)
        reader.start()
        try:
            for _ in range(3):
                assert engine.loaded("m")[-1] == 100
        finally:
            sys.setswitchinterval(usual)
            is_asked.set()
            reader.join()
    assert seen == {100}
