"""Client and commands end with one clear line whatever answers them, and whatever file they are given."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from integration.gateway import AVIZOR, gateway, png
from support.warm_starts import warm_run

from avizor.v1 import inference_pb2 as pb
from avizor_client import AsyncClient, BadAnswer, CallFailed, Client, DeadlineExceeded, InputError, ItemFailed, MonitorSettings
from avizor_inference.errors import SettingsError
from avizor_inference.gateway_connection import GatewayAddress

DIGITS = pb.Model(name="digits", version=1, task=pb.TASK_CLASSIFY, image=pb.ImageInput(height=32, width=32, channels=1))

UNKNOWN = pb.Model.FromString(b"\x0a\x01x\x20\x63")  # of task 99


class Anything(grpc.GenericRpcHandler):
    """Answers every call with messages by the name of its RPC; streams with several."""

    def __init__(self, answers: Callable[[str, grpc.ServicerContext], list[bytes]]) -> None:
        self._answers = answers

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        rpc = details.method.rpartition("/")[2]
        if rpc == "Monitor":
            return grpc.stream_stream_rpc_method_handler(lambda _requests, context: iter(self._answers(rpc, context)))
        return grpc.unary_unary_rpc_method_handler(lambda _request, context: self._answers(rpc, context)[0])


@contextlib.contextmanager
def server(answers: Any, handler: Callable[[Any], grpc.GenericRpcHandler] = Anything) -> Iterator[str]:
    running = grpc.server(ThreadPoolExecutor(2))
    running.add_generic_rpc_handlers([handler(answers)])
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        running.stop(0).wait()


def of(messages: dict[str, list[Any]]) -> Callable[[str, grpc.ServicerContext], list[bytes]]:
    given = {rpc: [each.SerializeToString() for each in some] for rpc, some in messages.items()}
    return lambda rpc, _context: given[rpc]


@pytest.mark.parametrize(
    ("model", "answer", "message"),
    [
        pytest.param(pb.Model(), pb.ClassifyResponse(), "cannot be understood", id="model without a task"),
        pytest.param(
            UNKNOWN,
            pb.ClassifyResponse(),
            "cannot be understood",
            id="task that is not known",
        ),
        pytest.param(DIGITS, pb.ClassifyResponse(), "results for 0 of 1 items", id="too few items"),
        pytest.param(
            DIGITS,
            pb.ClassifyResponse(items=[pb.Classification(outputs={"x": pb.Tensor(dtype="float32", shape=[3], data=b"abcd")})]),
            "cannot reshape",
            id="tensor of another size",
        ),
        pytest.param(
            DIGITS,
            pb.ClassifyResponse(items=[pb.Classification(outputs={"x": pb.Tensor(dtype="nothing", shape=[1], data=b"abcd")})]),
            "data type",
            id="tensor of no type",
        ),
    ],
)
def test_an_answer_that_means_nothing_is_named(model: pb.Model, answer: pb.ClassifyResponse, message: str) -> None:
    with server(of({"GetModel": [model], "Classify": [answer]})) as target, Client(target) as client:
        with pytest.raises(BadAnswer, match=message):
            client.classify("digits", [np.zeros((32, 32, 1), np.uint8)])

        async def in_a_loop() -> None:
            async with AsyncClient(target) as other:
                await other.classify("digits", [np.zeros((32, 32, 1), np.uint8)])

        with pytest.raises(BadAnswer, match=message):
            asyncio.run(in_a_loop())


def test_an_answer_of_another_protocol_is_named() -> None:
    with server(lambda _rpc, _context: [b"\xff\xff\xff"]) as target, Client(target) as client:
        with pytest.raises(BadAnswer, match="no message"):
            client.models()

        async def in_a_loop() -> None:
            async with AsyncClient(target) as other:
                await other.models()

        with pytest.raises(BadAnswer, match="no message"):
            asyncio.run(in_a_loop())


def packed(detail: Any, content: bytes) -> bytes:
    """A status with a detail of a kind that holds something else."""
    status = Status(code=8)
    status.details.add().Pack(detail)
    status.details[0].value = content
    return bytes(status.SerializeToString())


@pytest.mark.parametrize(
    ("details", "retry_after_s"),
    [
        pytest.param(b"\xff\xff", None, id="no status"),
        pytest.param(packed(RetryInfo(), b"\xff"), None, id="no RetryInfo"),
        pytest.param(packed(BadRequest(), b"\x0a\xff"), None, id="no BadRequest"),
        pytest.param(
            packed(RetryInfo(), RetryInfo(retry_delay=Duration(seconds=1 << 62)).SerializeToString()), 1 << 62, id="long"
        ),
        pytest.param(packed(RetryInfo(), RetryInfo(retry_delay=Duration(seconds=-5)).SerializeToString()), 0, id="below 0"),
    ],
)
def test_details_of_an_error_that_mean_nothing_cost_nothing_but_themselves(details: bytes, retry_after_s: float | None) -> None:
    def refuse(_rpc: str, context: grpc.ServicerContext) -> list[bytes]:
        context.set_trailing_metadata((("grpc-status-details-bin", details), ("grpc-retry-pushback-ms", "-1")))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        raise AssertionError

    with server(refuse) as target, Client(target) as client, pytest.raises(CallFailed, match="full") as caught:
        client.models()
    assert caught.value.retry_after_s == retry_after_s

    item = pb.Classification(error=Status.FromString(details) if details[0] != 0xFF else Status(code=8))
    with (
        server(of({"GetModel": [DIGITS], "Classify": [pb.ClassifyResponse(items=[item])]})) as target,
        Client(target) as client,
        pytest.raises(ItemFailed),
    ):
        client.classify("digits", [np.zeros((32, 32, 1), np.uint8)]).only()


STARTED = pb.MonitorResponse(started=pb.MonitorStarted(detector_version=1))


def window(place: int) -> pb.MonitorResponse:
    """A window of 0.1 s."""
    span = pb.Span(start_sample=1600 * place, end_sample=1600 * (place + 1), start_s=place / 10, end_s=(place + 1) / 10)
    return pb.MonitorResponse(window=pb.MonitoredWindow(score=1, span=span))


WINDOW, LATER = window(0), window(1)
ENDED = pb.MonitorResponse(ended=pb.MonitorEnded(windows=2))


def check_stream_is_refused(target: str, sound: bytes, message: str) -> None:
    """Check that both clients raise BadAnswer while they listen to what a server says of a sound."""
    settings = MonitorSettings(detector="normal", sample_rate=16_000)

    async def in_a_loop() -> None:
        async with AsyncClient(target) as client, client.monitor([sound], settings) as stream:
            async for _window in stream:
                pass

    def in_a_thread() -> None:
        with Client(target) as client, client.monitor([sound], settings) as stream:
            for _window in stream:
                pass

    with pytest.raises(BadAnswer, match=message):
        in_a_thread()
    with pytest.raises(BadAnswer, match=message):
        asyncio.run(in_a_loop())


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        pytest.param([], "without a last message", id="nothing"),
        pytest.param([WINDOW], "without its first message", id="no beginning"),
        pytest.param([STARTED, WINDOW], "without a last message", id="no end"),
    ],
)
def test_a_stream_that_is_cut_short_is_named(messages: list[pb.MonitorResponse], message: str) -> None:
    with server(of({"Monitor": messages})) as target:
        check_stream_is_refused(target, bytes(100), message)


class Endless(Anything):
    """Answers calls of Monitor with windows without end: by their places."""

    def __init__(self, places: Callable[[], Iterator[int]]) -> None:
        self._places = places

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        def answers(_requests: Any, _context: grpc.ServicerContext) -> Iterator[bytes]:
            yield STARTED.SerializeToString()
            for place in self._places():
                yield window(place).SerializeToString()

        return grpc.stream_stream_rpc_method_handler(answers)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        pytest.param(lambda: itertools.repeat(0), "a window is not later than the one before", id="the same"),
        pytest.param(itertools.count, "a window is of sound that was not sent", id="later and later"),
    ],
)
def test_a_stream_of_windows_without_end_ends(places: Callable[[], Iterator[int]], message: str) -> None:
    with server(places, Endless) as target:
        check_stream_is_refused(target, bytes(32_000), message)


class Silent(Anything):
    """Answers calls of Monitor with messages, and then with nothing more, while the client is there."""

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        if not details.method.endswith("/Monitor"):
            return super().service(details)

        def answers(_requests: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
            gone = threading.Event()
            context.add_callback(gone.set)
            yield from self._answers("Monitor", context)
            gone.wait()

        return grpc.stream_stream_rpc_method_handler(answers)


class Patient(Anything):
    """Answers calls of Monitor with a message at once, and with the others when the sound has ended."""

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        def answers(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            first, *others = self._answers("Monitor", context)
            yield first
            for _ in requests:
                pass
            yield from others

        return grpc.stream_stream_rpc_method_handler(answers)


@pytest.mark.parametrize(
    ("messages", "sound"),
    [
        pytest.param([], [bytes(100)], id="from its beginning"),
        pytest.param([STARTED], [bytes(100)], id="before a window"),
        pytest.param([STARTED, WINDOW, LATER], [bytes(100)], id="before its end"),
        pytest.param([STARTED], itertools.repeat(bytes(1 << 20)), id="and takes no sound"),
    ],
)
def test_a_stream_that_falls_silent_is_not_waited_for_without_a_limit(
    messages: list[pb.MonitorResponse], sound: Iterable[bytes]
) -> None:
    settings = MonitorSettings(detector="normal", sample_rate=16_000)

    async def in_a_loop(target: str, seen: list[Any]) -> None:
        async with AsyncClient(target, timeout_s=1) as client, client.monitor(sound, settings) as stream:
            async for window in stream:
                seen += [window]

    def in_a_thread(target: str, seen: list[Any]) -> None:
        with Client(target, timeout_s=1) as client, client.monitor(sound, settings) as stream:
            seen += stream

    with server(of({"Monitor": messages}), Silent) as target:
        for listen in (in_a_thread, lambda target, seen: asyncio.run(in_a_loop(target, seen))):
            seen: list[Any] = []
            with pytest.raises(DeadlineExceeded, match="the gateway has said nothing for 1 s; allow more"):
                listen(target, seen)
            assert len(seen) == sum(each.HasField("window") for each in messages)


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_a_stream_may_be_silent_while_its_sound_goes_on_and_while_its_windows_are_looked_at(in_a_loop: bool) -> None:
    settings = MonitorSettings(detector="normal", sample_rate=16_000)

    def slow() -> Iterator[bytes]:
        for _ in range(3):
            time.sleep(0.5)
            yield bytes(100)

    async def asynchronously(target: str) -> Any:
        async with AsyncClient(target, timeout_s=0.4) as client, client.monitor(slow(), settings) as stream:
            async for _window in stream:
                await asyncio.sleep(0.5)
        return stream.ended

    def in_a_thread(target: str) -> Any:
        with Client(target, timeout_s=0.4) as client, client.monitor(slow(), settings) as stream:
            for _window in stream:
                time.sleep(0.5)
        return stream.ended

    with server(of({"Monitor": [STARTED, WINDOW, LATER, ENDED]}), Patient) as target:
        ended = asyncio.run(asynchronously(target)) if in_a_loop else in_a_thread(target)
    assert ended.windows == 2


def said(*arguments: object) -> str:
    """Run a command that fails, and return its last line."""
    ended = warm_run([str(AVIZOR), *map(str, arguments)], timeout=60)
    assert ended.returncode in (1, 2), ended
    assert "Traceback" not in ended.stderr
    return str(ended.stderr.strip().splitlines()[-1])


def test_commands_print_nothing_that_a_terminal_would_obey() -> None:
    def refuse(_rpc: str, context: grpc.ServicerContext) -> list[bytes]:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "\x1b]0;owned\x07\nSERVING")
        raise AssertionError

    with server(refuse) as target:
        for command in (["health"], ["call", "models"]):
            assert r"\x1b]0;owned\x07\nSERVING" in said(*command, "--target", target)


def test_health_names_a_server_that_is_no_gateway() -> None:
    with server(lambda _rpc, _context: [b"\xff\xff\xff"]) as target:
        said_of_it = "the answer is no message of a gateway; see whether a gateway of this release is at the address"
        assert said("health", "--target", target) == f"{target}: INTERNAL: {said_of_it}"
    with server(lambda _rpc, _context: [b"\x08\x63"]) as target:
        ended = warm_run([str(AVIZOR), "health", "--target", target], timeout=60)
        assert (ended.returncode, ended.stdout) == (1, "status 99, which is none\n")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        pytest.param({}, "the answer is no message of a gateway", id="no message"),
        pytest.param({"GetModel": [pb.Model()]}, "it does not say what the model takes", id="no input"),
        pytest.param({"Explain": [pb.ExplainResponse()]}, "not enough values", id="no items"),
        pytest.param({"Explain": [pb.ExplainResponse(items=[pb.Explanation()])]}, "data type", id="no map"),
        pytest.param(
            {"Explain": [pb.ExplainResponse(items=[pb.Explanation(map=pb.Tensor(dtype="float32", shape=[3], data=b"abcd"))])]},
            "cannot reshape",
            id="map of another size",
        ),
    ],
)
def test_explain_names_a_server_that_is_no_gateway(tmp_path: Path, messages: dict[str, list[Any]], message: str) -> None:
    (picture := tmp_path / "picture.png").write_bytes(png(np.zeros((32, 32), np.uint8)))
    answers = of({"GetModel": [DIGITS]} | messages) if messages else lambda _rpc, _context: [b"\xff\xff\xff"]
    with server(answers) as target:
        line = said("explain", "cam", "digits", picture, "--gateway", target, "--out", tmp_path)
    assert message in line
    assert line.endswith("; see whether a gateway of this release is at the address")


@pytest.mark.parametrize("arguments", [["health", "--target"], ["explain", "cam", "digits", "x.png", "--gateway"]])
def test_no_answer_in_time_is_told_with_what_to_do(arguments: list[str]) -> None:
    def late(_rpc: str, context: grpc.ServicerContext) -> list[bytes]:
        while context.is_active():
            time.sleep(0.02)
        return [b""]

    with server(late) as target:
        line = said(*arguments, target, "--timeout-s", 0.5)
    assert "DEADLINE_EXCEEDED: no answer in time; allow more, and see whether a gateway listens at this address" in line


NO_ADDRESSES = [
    *("localhost", "localhost:", ":50051", "localhost:http", "localhost:0", "127.0.0.1:-5", "127.0.0.1:99999", "::1", "[::1]"),
    *("dns:///localhost", "dns:localhost", "ipv4:127.0.0.1", "ipv6:[::1]", "unix:", "foo://localhost:50051", "two words:50051"),
    *("http://127.0.0.1:8080", "localhost:50051/", "localhost/path:50051", "\n:50051"),
]


@pytest.mark.parametrize("target", NO_ADDRESSES)
def test_an_address_that_is_none_is_not_called(target: str) -> None:
    with pytest.raises(InputError, match="is no address; give HOST:PORT, with a port up to 65535, or unix:PATH"):
        Client(target)
    with pytest.raises(SettingsError, match="is no address; give HOST:PORT, with a port up to 65535, or unix:PATH"):
        GatewayAddress(target)


@pytest.mark.parametrize("place", ["{0}", "dns:{0}", "dns:///{0}", "ipv4:{0}", "ipv4:127.0.0.1:9,{0}"])
def test_a_gateway_is_found_by_each_form_of_its_address(place: str) -> None:
    with server(of({"GetModel": [DIGITS]})) as target, Client(place.format(target)) as client:
        GatewayAddress(place.format(target))
        assert client.model("digits").name == "digits"


def test_commands_name_an_address_that_is_none(models: Path, tmp_path: Path) -> None:
    assert "'--target' is empty" in said("health", "--target", "")
    loads = ["models", "load", "digits", "--models", str(models), "--gateway", "localhost"]
    for command in (["health", "--target", "localhost"], ["call", "models", "--target", "localhost"], loads):
        assert "'localhost' is no address; give HOST:PORT" in said(*command)


def test_files_that_are_none_are_named(models: Path, tmp_path: Path) -> None:
    (picture := tmp_path / "picture").write_bytes(png(np.zeros((4, 4), np.uint8)))
    load = ["models", "load", "digits", "--models", models, "--gateway", "127.0.0.1:9"]
    explain = ["explain", "cam", "digits", picture, "--gateway", "127.0.0.1:9", "--out", tmp_path / "maps"]
    for command in (["call", "models"], ["health"], load, explain):
        for files in (["--ca", picture], ["--certificate", picture, "--key", picture]):
            assert f"Error: {picture}: is not in PEM; name a file that begins with -----BEGIN" == said(*command, *files)
        too_large = "has more than" if command[0] == "call" else "is too large; name another file"
        assert f"Error: /dev/zero: {too_large}" in said(*command, "--token-file", "/dev/zero")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["classify", b"digits", b""], "comes after 'digits' is empty", id="no name"),
        pytest.param(["classify", b"dig\xff", b"picture"], "is not UTF-8", id="model"),
        pytest.param(["classify", b"digits", b"--source", b"\xff", b"picture"], "is not UTF-8", id="source"),
    ],
)
def test_arguments_that_cannot_be_sent_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture").write_bytes(png(np.zeros((32, 32), np.uint8)))
    with server(of({"GetModel": [DIGITS]})) as target:
        command: list[Any] = [AVIZOR, "call", *arguments, "--target", target]
        ended = warm_run([*map(os.fsdecode, command)], timeout=60)
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_device_is_not_read_to_its_end() -> None:
    table = pb.Model(name="rows", version=1, task=pb.TASK_RECONSTRUCT, table=pb.TableInput())
    with server(of({"GetModel": [table]})) as target:
        command: list[Any] = [AVIZOR, "call", "detect", "rows", "/dev/zero", "--target", target]
        ended = warm_run([*map(os.fsdecode, command)], timeout=60)
    assert (ended.returncode, ended.stdout) == (3, "/dev/zero  UNREADABLE: it is a device, and no file\n")


def test_an_item_comes_from_a_named_pipe(models: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(png(np.zeros((32, 32), np.uint8))), daemon=True)
    with gateway(models, "--alpha", 0.05) as running:
        writer.start()
        ended = warm_run([str(AVIZOR), "call", "classify", "digits", str(pipe), "--target", running.address], timeout=60)
    assert ended.returncode == 0, ended
    assert ended.stdout.startswith(str(pipe))
