"""http/tensor_bodies.py: small bodies of the Open Inference Protocol never leave the event loop, and large ones do."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import pytest

from avizor_inference.errors import AnswerTooLarge, InvalidInput
from avizor_service.http.tensor_bodies import AnswerForm, answer_body, read_body
from avizor_service.open_inference.infer import TensorAnswer
from avizor_service.open_inference.tensors import OutputTensor
from avizor_service.threads import Threads


class Counting(Executor):
    """Runs at once what a thread is asked to do, and counts it."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.count += 1
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


def body_of(values: np.ndarray, *, binary: bool) -> tuple[bytes, int | None]:
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": list(values.shape)}
    if not binary:
        return json.dumps({"inputs": [tensor | {"data": values.ravel().tolist()}]}).encode(), None
    text = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": values.nbytes}}]}).encode()
    return text + values.tobytes(), len(text)


@pytest.mark.parametrize(
    ("numbers", "binary", "in_thread"),
    [(1000, False, 0), (4000, False, 1), (200_000, True, 0), (300_000, True, 1)],
)
def test_a_small_body_is_read_on_the_event_loop(numbers: int, binary: bool, in_thread: int) -> None:
    values = np.random.default_rng(0).random((1, numbers), np.float32)
    body, length = body_of(values, binary=binary)
    executor, held = Counting(), sys.getrefcount(body)
    request, _ = asyncio.run(read_body(Threads(executor), "m", "2", body, length))
    (tensor,) = request.inputs
    assert (request.model, request.version, tensor.shape) == ("m", "2", [1, numbers])
    found = np.frombuffer(tensor.data, np.float32) if isinstance(tensor.data, bytes) else tensor.data
    np.testing.assert_array_equal(found, values.ravel())
    assert (executor.count, sys.getrefcount(body)) == (in_thread, held)


@pytest.mark.parametrize(
    ("numbers", "binary", "in_thread"),
    [(1024, False, 0), (1025, False, 1), (200_000, True, 0), (300_000, True, 1)],
)
def test_a_small_answer_is_written_on_the_event_loop(numbers: int, binary: bool, in_thread: int) -> None:
    values = np.random.default_rng(0).random((1, numbers), np.float32)
    answer = TensorAnswer("m", 2, [OutputTensor("y", "FP32", values.shape, values)])
    executor = Counting()
    body, length = asyncio.run(answer_body(Threads(executor), answer, AnswerForm("", binary, {}), 64 << 20))
    fields = json.loads(body[:length])
    found = np.frombuffer(body[length:], np.float32) if binary else np.array(fields["outputs"][0]["data"], np.float32)
    np.testing.assert_array_equal(found, values.ravel())
    assert executor.count == in_thread


def test_what_is_wrong_is_said_wherever_the_body_is_read() -> None:
    for padding in (0, 100_000):
        body = json.dumps({"inputs": [{"name": "x"}], "id": "i" * padding}).encode()
        with pytest.raises(InvalidInput, match="an element of inputs or outputs has no datatype"):
            asyncio.run(read_body(Threads(Counting()), "m", "", body, None))
    with pytest.raises(InvalidInput, match=r"Inference-Header-Content-Length is 900000, and the body has 2 bytes"):
        asyncio.run(read_body(Threads(Counting()), "m", "", b"{}", 900_000))


def test_too_many_numbers_are_refused_before_a_thread_is_asked() -> None:
    answer = TensorAnswer("m", 1, [OutputTensor("y", "FP32", (1, 2000), np.zeros((1, 2000), np.float32))])
    executor = Counting()
    with pytest.raises(AnswerTooLarge, match="the outputs have 2000 values, and at most 1000 are written as JSON here"):
        asyncio.run(answer_body(Threads(executor), answer, AnswerForm("", False, {}), 64_000))
    assert executor.count == 0
