"""The queue policy of config.pbtxt refuses requests on both engines, and by the same error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lookup_model import lookup_items, write_lookup
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.errors import EngineBusy
from avizor_inference.repository.models import ModelRepository

SOME_TIME = 400_000  # turns of the model's loop

POLICIES = {
    "max_queue_size": "default_queue_policy { max_queue_size: 1 }",
    "default_timeout_microseconds": "default_queue_policy { default_timeout_microseconds: 100000 }",
}


@pytest.fixture(params=["ort", "triton"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(params=POLICIES)
def engine(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Iterator[Engine]:
    write_lookup(tmp_path, f"dynamic_batching {{ preferred_batch_size: [ 1 ] {POLICIES[request.param]} }}")
    with contextlib.ExitStack() as stack:
        name = "ort"
        if kind == "triton":
            install: TritonInstall = request.getfixturevalue("triton_install")
            name = f"triton://{stack.enter_context(TritonServer(install, tmp_path)).grpc_url}"
        yield stack.enter_context(open_engine(name, ModelRepository(tmp_path), device="cpu", batching=True))


def ask_at_once(engine: Engine, count: int) -> list[dict[str, Array] | EngineBusy]:
    """Send so many requests, and return the answer of each, or its refusal."""
    futures, answers = [], list[dict[str, Array] | EngineBusy]()
    for index in range(count):
        try:
            inputs = {"input": lookup_items(index, turns=SOME_TIME)}
            futures.append(engine.submit(InferRequest("lookup", inputs, ["probabilities"])))
        except EngineBusy as error:
            answers.append(error)
    for future in futures:
        try:
            answers.append(future.result(timeout=60))
        except EngineBusy as error:
            answers.append(error)
    return answers


def test_more_than_the_queue_takes_is_busy_and_the_rest_is_answered(engine: Engine) -> None:
    engine.spec("lookup")
    answers = ask_at_once(engine, 5)
    refused = [answer for answer in answers if isinstance(answer, EngineBusy)]
    assert len(answers) == 5
    assert 1 <= len(refused) < 5
    assert engine.ready()
