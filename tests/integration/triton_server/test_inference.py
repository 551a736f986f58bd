"""The Triton of the tests gives correct results, batches requests, and reports errors with their codes."""

from __future__ import annotations

import urllib.request

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from integration.triton_server.calls import Call, at_once, counts, infer, rows
from integration.triton_server.made_models import ROWS_AT_MOST, WEIGHTS
from triton_server.server import TritonServer
from tritonclient.grpc import service_pb2_grpc

INVALID, NOT_FOUND, INTERNAL = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INTERNAL,
)


@pytest.mark.parametrize("count", [1, 2, ROWS_AT_MOST])
def test_answers_are_right(server: TritonServer, count: int) -> None:
    x = rows(count)
    answer = infer(server, Call("classifier", {"x": x}))
    exponentials = np.exp(x @ WEIGHTS)
    np.testing.assert_allclose(answer["logits"], x @ WEIGHTS, rtol=1e-5)
    np.testing.assert_allclose(answer["probabilities"], exponentials / exponentials.sum(1, keepdims=True), rtol=1e-5)


def test_only_requested_outputs_travel(server: TritonServer) -> None:
    assert list(infer(server, Call("classifier", {"x": rows(2)}, ["probabilities"]))) == ["probabilities"]
    assert set(infer(server, Call("classifier", {"x": rows(2)}))) == {"logits", "probabilities"}


def test_labels_come_with_the_classification_extension(server: TritonServer) -> None:
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
    x = rows(1)
    given = tritonclient.grpc.InferInput("x", x.shape, "FP32")
    given.set_data_from_numpy(x)
    wanted = tritonclient.grpc.InferRequestedOutput("probabilities", class_count=1)
    top = client.infer("classifier", [given], outputs=[wanted]).as_numpy("probabilities")
    best = int((x @ WEIGHTS).argmax())
    assert top[0, 0].decode().split(":")[1:] == [str(best), ["ant", "bee", "cat"][best]]


def test_concurrent_requests_share_runs_and_keep_their_answers(server: TritonServer) -> None:
    before = counts(server, "classifier")
    inputs = [rows(count) + count for count in (1, 2, 3, 1, 2, 1, 3, 2) * 4]
    outputs: tuple[list[str], ...] = (["logits"], ["probabilities"], [])
    answers = at_once(server, [Call("classifier", {"x": x}, outputs[i % 3]) for i, x in enumerate(inputs)])
    for i, (x, answer) in enumerate(zip(inputs, answers, strict=True)):
        assert isinstance(answer, dict), answer
        assert set(answer) == set(outputs[i % 3] or ["logits", "probabilities"])
        if "logits" in answer:
            np.testing.assert_allclose(answer["logits"], x @ WEIGHTS, rtol=1e-5)
    inferences, executions = np.subtract(counts(server, "classifier"), before)
    assert inferences == sum(map(len, inputs))
    assert executions < len(inputs)


def test_a_faulty_request_does_not_harm_those_it_shares_a_run_with(server: TritonServer) -> None:
    before = counts(server, "lookup")
    answers = at_once(server, [Call("lookup", {"index": np.array([[index]])}) for index in (0, 1, 99, 3)])
    assert [a["value"].item() for a in answers if isinstance(a, dict)] == [0.0, 10.0, 30.0]
    assert isinstance(answers[2], grpc.RpcError)
    assert answers[2].code() is grpc.StatusCode.INTERNAL
    assert "onnx runtime error" in answers[2].details()
    assert counts(server, "lookup")[1] - before[1] == 1, "they were meant to share one run"


def test_shapes_that_cannot_be_concatenated_may_share_a_batch(server: TritonServer) -> None:
    before = counts(server, "doubler")
    inputs = [rows(1, width) for width in (3, 5, 3, 7)]
    answers = at_once(server, [Call("doubler", {"x": x}) for x in inputs])
    for x, answer in zip(inputs, answers, strict=True):
        assert isinstance(answer, dict), answer
        np.testing.assert_array_equal(answer["doubled"], 2 * x)
    assert counts(server, "doubler")[1] - before[1] == 1, "they were meant to share one batch"


def test_a_tensor_larger_than_the_shared_memory_it_starts_with(server: TritonServer) -> None:
    x = rows(1, 2_000_000)
    with grpc.insecure_channel(server.grpc_url, [("grpc.max_receive_message_length", -1)]) as channel:
        call = Call("doubler", {"x": x}).message()
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(call, timeout=60)
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), 2 * x[0])


def test_metrics_count_inferences(server: TritonServer) -> None:
    infer(server, Call("classifier", {"x": rows(1)}))
    with urllib.request.urlopen(server.metrics_url) as answer:
        assert 'nv_inference_count{model="classifier",version="1"}' in answer.read().decode()


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (Call("classifier", {"x": rows(2)}, dtype="INT32"), INVALID, "data-type is 'INT32', but model"),
        (Call("classifier", {"y": rows(2)}), INVALID, "unexpected inference input 'y'"),
        (Call("classifier", {}), INVALID, "expected 1 inputs but got 0"),
        (Call("classifier", {"x": rows(2, 5)}), INVALID, "unexpected shape for input 'x'"),
        (Call("classifier", {"x": rows(2)}, shape=[8]), INVALID, "unexpected shape for input 'x'"),
        (Call("classifier", {"x": rows(2)}, shape=[3, 4]), INVALID, "input byte size mismatch"),
        (Call("classifier", {"x": rows(9)}), INVALID, "batch-size must be <= 8"),
        (Call("classifier", {"x": rows(2)}, ["nothing"]), INVALID, "unexpected inference output 'nothing'"),
        (Call("nobody", {"x": rows(2)}), NOT_FOUND, "unknown model: 'nobody' is not found"),
        (Call("classifier", {"x": rows(2)}, version="9"), NOT_FOUND, "version 9 is not found"),
        (Call("classifier", {"x": rows(2)}, version="last"), INVALID, "version should be an integral value"),
        (Call("lookup", {"index": np.array([[99]])}), INTERNAL, "onnx runtime error"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_errors(server: TritonServer, call: Call, code: grpc.StatusCode, words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        infer(server, call)
    assert caught.value.code() is code
    assert words in caught.value.details()


def test_a_deadline_passes(server: TritonServer) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        infer(server, Call("slow", {"x": rows(1, 1)}), timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_full_queue_turns_requests_away(server: TritonServer) -> None:
    answers = at_once(server, [Call("slow", {"x": rows(1, 1)})] * 6)
    refused = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert refused
    assert {answer.code() for answer in refused} == {grpc.StatusCode.UNAVAILABLE}
    assert {"Exceeds maximum queue size" in answer.details() for answer in refused} == {True}
