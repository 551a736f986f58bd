"""Call a gateway from an event loop: `AsyncClient`, with the methods of `Client`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc

from avizor.v1 import inference_pb2 as pb
from avizor.v1.inference_pb2_grpc import InferenceServiceStub
from avizor_client import reading, requests
from avizor_client.answers import (
    Answer,
    Classification,
    Embedding,
    Explanation,
    InputKind,
    Method,
    Model,
    MonitoredWindow,
    MonitorEnded,
    MonitorStarted,
    Reconstruction,
    Refused,
    Verdict,
)
from avizor_client.connection import MAX_ANSWER_MIB, PROBE, PROBE_S, Closed, Connection, Tls, new_request_id
from avizor_client.errors import NO_MESSAGE, InputError, bad_answer, call_failed, fell_silent, is_late
from avizor_client.requests import Format, Items, ItemsCall, MapFormat, Occlusion, T
from avizor_client.streams import Chunk, Heard, MonitorSettings, Patience
from avizor_client.tokens import Token

Result = TypeVar("Result")


class AsyncClient:
    """Calls one gateway from one event loop. Close it, or use it as an asynchronous context manager. See Client.

    Files are read in a thread.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        tls: Tls | None = None,
        token: str | None = None,
        token_file: Path | str | None = None,
        timeout_s: float = 60.0,
        max_answer_mib: int = MAX_ANSWER_MIB,
    ) -> None:
        """See Client. It belongs to the event loop in which it is made; elsewhere its methods raise InputError."""
        self._loop = _running_loop()
        self._connection = Connection(target, tls, Token(token, token_file), timeout_s, max_answer_mib)
        self._channel = self._connection.open(grpc.aio)
        self._stub: Any = InferenceServiceStub(self._channel)
        self._kinds: dict[tuple[str, int], InputKind] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls that run end; later ones raise InputError."""
        self._stub = Closed()
        await self._channel.close()

    async def models(self) -> tuple[Model, ...]:
        """Return the models of the gateway, sorted by name."""
        return requests.models(await self._ask("ListModels", pb.ListModelsRequest(), new_request_id()))

    async def refused(self) -> tuple[Refused, ...]:
        """Return what is in the gateway's repository and does not answer, by name and version, with the reason."""
        return requests.refused(await self._ask("ListModels", pb.ListModelsRequest(), new_request_id()))

    async def model(self, name: str, version: int = 0) -> Model:
        """Return one model. version: 0 for the one that is served."""
        return reading.model(await self._ask("GetModel", pb.GetModelRequest(name=name, version=version), new_request_id()))

    async def classify(
        self,
        model: str,
        items: Items,
        *,
        version: int = 0,
        source: str = "",
        top_k: int = 0,
        threshold: float = 0.0,
        outputs: Iterable[str] = (),
    ) -> Answer[Classification]:
        """Return the most probable classes of each item. See Client.classify."""
        return await self._run(requests.classify(model, version, top_k, threshold, outputs), items, source)

    async def detect(
        self,
        model: str,
        items: Items,
        *,
        version: int = 0,
        source: str = "",
        alpha: float = 0.0,
        confidence: float = 0.0,
        outputs: Iterable[str] = (),
    ) -> Answer[Verdict]:
        """Return how unusual each item is. See Client.detect."""
        return await self._run(requests.detect(model, version, alpha, confidence, outputs), items, source)

    async def embed(self, model: str, items: Items, *, version: int = 0, source: str = "") -> Answer[Embedding]:
        """Return a vector for each window of each item."""
        return await self._run(requests.embed(model, version), items, source)

    async def reconstruct(
        self, model: str, items: Items, *, version: int = 0, source: str = "", format: Format = "tensor"
    ) -> Answer[Reconstruction]:
        """Return what an autoencoder makes of each item: a tensor, or a whole PNG or WAV."""
        return await self._run(requests.reconstruct(model, version, format), items, source)

    async def explain(
        self,
        model: str,
        items: Items,
        *,
        version: int = 0,
        source: str = "",
        method: Method | None = None,
        label: str = "",
        window: int | None = None,
        occlusion: Occlusion | None = None,
        format: MapFormat = "numbers",
    ) -> Answer[Explanation]:
        """Return where in each item a model looks. See Client.explain."""
        return await self._run(requests.explain(model, version, method, label, window, occlusion, format), items, source)

    def monitor(self, chunks: Iterable[Chunk] | AsyncIterable[Chunk], settings: MonitorSettings) -> AsyncMonitorStream:
        """Return a stream that listens to sound while its chunks come. See Client.monitor."""
        self._require_own_loop()
        return AsyncMonitorStream(self._stub, self._connection, chunks, settings)

    async def _run(self, call: ItemsCall[T], items: Items, source: str) -> Answer[T]:
        pending = call.requests(items, await self._kind(call.model, call.version), source)
        while (request := await asyncio.to_thread(next, pending, None)) is not None:
            request_id = new_request_id()
            call.add(await self._ask(call.rpc, request, request_id), request_id)
        return call.answer()

    async def _kind(self, model: str, version: int) -> InputKind:
        if (model, version) not in self._kinds:
            self._kinds[model, version] = (await self.model(model, version)).input_kind
        return self._kinds[model, version]

    async def _ask(self, rpc: str, request: Any, request_id: str) -> Any:
        self._require_own_loop()
        metadata = self._connection.metadata(request_id)
        try:
            answer = await getattr(self._stub, rpc)(request, timeout=self._connection.timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            after = await self._probe() if is_late(error) else ""
            raise call_failed(error, request_id, after, request.ByteSize()) from error
        if answer is None:  # it could not be parsed
            raise bad_answer(NO_MESSAGE)
        return answer

    async def _probe(self) -> str:
        try:
            await self._channel.unary_unary(PROBE)(b"", timeout=PROBE_S)
        except grpc.RpcError as error:
            return str(error.details())
        return ""

    def _require_own_loop(self) -> None:
        if _running_loop() is not self._loop:
            raise InputError("this client was made in another event loop; make one in each")


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise InputError("an AsyncClient is made and used in a coroutine: in an event loop that runs") from error


class AsyncMonitorStream:
    """A stream of sound that a gateway listens to: `async with`, and `async for` over its windows. See MonitorStream."""

    def __init__(
        self,
        stub: Any,
        connection: Connection,
        chunks: Iterable[Chunk] | AsyncIterable[Chunk],
        settings: MonitorSettings,
    ) -> None:
        self._stub, self._connection, self._chunks, self._settings = stub, connection, chunks, settings
        self._request_id = new_request_id()
        self._heard = Heard(settings)
        self._broken: Exception | None = None

    async def __aenter__(self) -> Self:
        """Begin to listen. Returns when the gateway has accepted the stream."""
        metadata = self._connection.metadata(self._request_id)
        loop = asyncio.get_running_loop()
        self._patience = Patience(self._connection.timeout_s, lambda: loop.call_soon_threadsafe(self._call.cancel))
        self._call = self._stub.Monitor(self._requests(), metadata=metadata)
        try:
            await self._receive()
        except BaseException:
            await self.__aexit__()
            raise
        self._patience.note(begun=True)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._patience.end()
        self._call.cancel()

    @property
    def started(self) -> MonitorStarted:
        """What the gateway does with the stream."""
        assert self._heard.started is not None, "the stream has not begun; use it as a context manager"
        return self._heard.started

    @property
    def ended(self) -> MonitorEnded | None:
        """What the stream came to; None before its end."""
        return self._heard.ended

    async def __aiter__(self) -> AsyncIterator[MonitoredWindow]:
        """Yield the windows as they are judged, until the chunks end."""
        while self._heard.ended is None:
            window = await self._receive()
            if window:
                yield window

    async def _requests(self) -> AsyncIterator[Any]:
        yield self._settings.start()
        try:
            async for chunk in _in_turn(self._chunks):
                for message in self._settings.messages(chunk):
                    self._heard.note_sent(message)
                    self._patience.note(sends=True)
                    yield message
                    self._patience.note(sends=False)
            self._patience.note(sent=True)
        except Exception as error:
            self._broken = error
            self._call.cancel()

    async def _receive(self) -> MonitoredWindow | None:
        try:
            with self._patience.waiting():
                message = await self._call.read()
            return self._heard.take(None if message is grpc.aio.EOF else message)
        except (grpc.RpcError, asyncio.CancelledError) as error:
            if self._broken:
                raise self._broken from error
            if self._patience.is_out:
                raise fell_silent(self._connection.timeout_s, self._request_id) from error
            if isinstance(error, asyncio.CancelledError):
                raise
            raise call_failed(error, self._request_id) from error


async def _in_turn(chunks: Iterable[Chunk] | AsyncIterable[Chunk]) -> AsyncIterator[Chunk]:
    """Yield chunks. Those that are not asynchronous are taken in threads: a pipe may be silent for long."""
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
        return
    iterator = iter(chunks)
    while (chunk_or_end := await _in_daemon_thread(lambda: next(iterator, None))) is not None:
        yield chunk_or_end


async def _in_daemon_thread(call: Callable[[], Result]) -> Result:
    """Return what a call returns, or raise what it raises. A thread of the loop's pool would keep the process until then."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="avizor-chunks", daemon=True).start()
    return await done
