"""Tokens are added, changed and revoked while the gateway serves; a file that cannot be used changes nothing."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from integration.gateway import Gateway, Stub, gateway, refused

from avizor.v1 import inference_pb2 as pb

ALI, BABA = '"Bearer sesame" "ali";\n', '"Bearer other-one" "baba";\n'
PCM = np.zeros(4096, "<i2").tobytes()


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(ALI + BABA)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def served(models: Path, tokens: Path, log: Path) -> Iterator[Gateway]:
    with gateway(models, "--alpha", 0.05, "--tokens", tokens, log=log) as running:
        yield running


@pytest.fixture
def stub(served: Gateway) -> Iterator[Stub]:
    with grpc.insecure_channel(served.address) as channel:
        yield served.stub(channel)


def code(stub: Stub, token: str) -> str:
    try:
        stub.ListModels(pb.ListModelsRequest(), metadata=[("authorization", f"Bearer {token}")])
    except grpc.RpcError as error:
        return refused(error)[0]
    return "OK"


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)


class Listening:
    """A stream that is open: `push` sends sound, and returns after the answer to it."""

    def __init__(self, stub: Stub, token: str) -> None:
        self._requests: queue.SimpleQueue[pb.MonitorRequest | None] = queue.SimpleQueue()
        start = pb.MonitorStart(sample_rate=8000, detector="normal", source="a")
        self._requests.put(pb.MonitorRequest(start=start))
        requests = iter(self._requests.get, None)
        self.call = stub.Monitor(requests, metadata=[("authorization", f"Bearer {token}")])
        self.call.add_callback(lambda: self._requests.put(None))
        assert next(self.call).WhichOneof("message") == "started"

    def push(self) -> str:
        self._requests.put(pb.MonitorRequest(pcm=PCM))
        return str(next(self.call).WhichOneof("message"))


def test_a_revoked_token_ends_its_streams_also_those_that_wait_and_no_others(stub: Stub, tokens: Path) -> None:
    ali, baba = Listening(stub, "sesame"), Listening(stub, "other-one")
    assert [ali.push(), baba.push()] == ["window", "window"]
    tokens.write_text(ALI)
    with pytest.raises(grpc.RpcError) as caught:
        next(baba.call)  # it sends nothing, and hears of it all the same
    assert refused(caught.value) == (
        "UNAUTHENTICATED",
        "the token was revoked, or its rights have changed; call again with a valid one",
    )
    assert ali.push() == "window"
    assert [code(stub, "sesame"), code(stub, "other-one")] == ["OK", "UNAUTHENTICATED"]
    ali.call.cancel()


def test_a_revoked_token_ends_its_reflection_too(served: Gateway, stub: Stub, tokens: Path) -> None:
    asked: queue.SimpleQueue[reflection_pb2.ServerReflectionRequest | None] = queue.SimpleQueue()
    metadata = [("authorization", "Bearer sesame")]
    with grpc.insecure_channel(served.address) as channel:
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter(asked.get, None), metadata=metadata
        )
        asked.put(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert next(answers).list_services_response.service
        tokens.write_text(BABA)
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: code(stub, "sesame") == "UNAUTHENTICATED")
        asked.put(reflection_pb2.ServerReflectionRequest(list_services=""))
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        asked.put(None)
    assert refused(caught.value)[0] == "UNAUTHENTICATED"


def test_a_token_with_other_rights_has_to_begin_its_streams_again(stub: Stub, tokens: Path) -> None:
    ali = Listening(stub, "sesame")
    tokens.write_text('"Bearer sesame" "ali models=kinds";\n')
    with pytest.raises(grpc.RpcError) as caught:
        next(ali.call)
    assert refused(caught.value)[0] == "UNAUTHENTICATED"
    with pytest.raises(grpc.RpcError) as caught:
        Listening(stub, "sesame")
    assert refused(caught.value)[0] == "PERMISSION_DENIED"


def test_a_signal_has_tokens_read_at_once_and_a_new_one_is_let_in(served: Gateway, stub: Stub, tokens: Path) -> None:
    assert code(stub, "new") == "UNAUTHENTICATED"
    other = tokens.with_name("other")
    other.write_text('"Bearer new" "cassim";\n' + ALI)
    os.replace(other, tokens)
    served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: code(stub, "new") == "OK")
    assert [code(stub, "sesame"), code(stub, "other-one")] == ["OK", "UNAUTHENTICATED"]


def test_a_file_that_cannot_be_used_keeps_the_tokens_and_is_named_without_a_token(
    served: Gateway, stub: Stub, tokens: Path, log: Path
) -> None:
    tokens.write_text(ALI + '"Bearer abracadabra" ali;x\n')
    wait_until(lambda: served.metrics()['avizor_reload_ok{part="tokens"}'] == 0)
    assert [code(stub, "sesame"), code(stub, "other-one"), code(stub, "abracadabra")] == ["OK", "OK", "UNAUTHENTICATED"]
    tokens.unlink()
    served.process.send_signal(signal.SIGHUP)  # or it would look some seconds later
    wait_until(lambda: "cannot be read" in log.read_text())
    assert code(stub, "other-one") == "OK"
    tokens.write_text(ALI)
    served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: served.metrics()['avizor_reload_ok{part="tokens"}'] == 1)
    assert [code(stub, "sesame"), code(stub, "other-one")] == ["OK", "UNAUTHENTICATED"]
    wait_until(lambda: "revoked: baba" in log.read_text())  # a thread of its own writes the log
    written = log.read_text()
    assert f"{tokens}, line 2: not of the form" in written
    assert not [token for token in ("sesame", "other-one", "abracadabra") if token in written]
