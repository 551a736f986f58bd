"""Call a gateway from threads: `Client`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

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
from avizor_client.errors import InputError, call_failed, fell_silent, is_late
from avizor_client.requests import Format, Items, ItemsCall, MapFormat, Occlusion, T
from avizor_client.streams import Chunk, Heard, MonitorSettings, Patience
from avizor_client.tokens import Token


class Client:
    """Calls one gateway; may be used by several threads. Close it, or use it as a context manager.

    Calls raise CallFailed, and InputError for what cannot be sent. A gateway that is full or away is asked again when it says
    so, up to five times in all and within `timeout_s`. Many items are sent as several requests, one after another.
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
        """target: `HOST:PORT`, or `unix:PATH`. token_file: read again when it changes. timeout_s: of each request.

        max_answer_mib: MiB of the largest answer that is taken. Raises InputError for files that cannot be read.
        """
        self._connection = Connection(target, tls, Token(token, token_file), timeout_s, max_answer_mib)
        self._channel = self._connection.open(grpc)
        self._stub: Any = InferenceServiceStub(self._channel)
        self._kinds: dict[tuple[str, int], InputKind] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Calls that run end; later ones raise InputError."""
        self._stub = Closed()
        self._channel.close()

    def models(self) -> tuple[Model, ...]:
        """Return the models of the gateway, sorted by name."""
        return requests.models(self._ask("ListModels", pb.ListModelsRequest(), new_request_id()))

    def refused(self) -> tuple[Refused, ...]:
        """Return what is in the gateway's repository and does not answer, by name and version, with the reason."""
        return requests.refused(self._ask("ListModels", pb.ListModelsRequest(), new_request_id()))

    def model(self, name: str, version: int = 0) -> Model:
        """Return one model. version: 0 for the one that is served."""
        return reading.model(self._ask("GetModel", pb.GetModelRequest(name=name, version=version), new_request_id()))

    def classify(
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
        """Return the most probable classes of each item. top_k, threshold, outputs: as in ClassifyRequest."""
        return self._run(requests.classify(model, version, top_k, threshold, outputs), items, source)

    def detect(
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
        """Return how unusual each item is. alpha: promised share of false alarms; 0: the gateway's."""
        return self._run(requests.detect(model, version, alpha, confidence, outputs), items, source)

    def embed(self, model: str, items: Items, *, version: int = 0, source: str = "") -> Answer[Embedding]:
        """Return a vector for each window of each item."""
        return self._run(requests.embed(model, version), items, source)

    def reconstruct(
        self, model: str, items: Items, *, version: int = 0, source: str = "", format: Format = "tensor"
    ) -> Answer[Reconstruction]:
        """Return what an autoencoder makes of each item: a tensor, or a whole PNG or WAV."""
        return self._run(requests.reconstruct(model, version, format), items, source)

    def explain(
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
        """Return where in each item a model looks. method None: what suits the model. See ExplainRequest."""
        return self._run(requests.explain(model, version, method, label, window, occlusion, format), items, source)

    def monitor(self, chunks: Iterable[Chunk], settings: MonitorSettings) -> MonitorStream:
        """Return a stream that listens to sound while its chunks come. It has no deadline as a whole, and is not tried again.

        Within `timeout_s` the gateway has to accept it, take each chunk, and after the last one send each message.
        """
        return MonitorStream(self._stub, self._connection, chunks, settings)

    def _run(self, call: ItemsCall[T], items: Items, source: str) -> Answer[T]:
        for request in call.requests(items, self._kind(call.model, call.version), source):
            request_id = new_request_id()
            call.add(self._ask(call.rpc, request, request_id), request_id)
        return call.answer()

    def _kind(self, model: str, version: int) -> InputKind:
        """Return what a model takes. A new version takes the same, so that this is asked once."""
        if (model, version) not in self._kinds:
            self._kinds[model, version] = self.model(model, version).input_kind
        return self._kinds[model, version]

    def _ask(self, rpc: str, request: Any, request_id: str) -> Any:
        metadata = self._connection.metadata(request_id)
        try:
            return getattr(self._stub, rpc)(request, timeout=self._connection.timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            after = self._probe() if is_late(error) else ""
            raise call_failed(error, request_id, after, request.ByteSize()) from error

    def _probe(self) -> str:
        """Return what a short call says; "" if it is answered."""
        try:
            self._channel.unary_unary(PROBE)(b"", timeout=PROBE_S)
        except grpc.RpcError as error:
            return str(error.details())
        return ""


class _Left:
    """Stands for the call of a stream that was left."""

    def cancel(self) -> None:
        """Do nothing: it has ended."""

    def __next__(self) -> Any:
        raise InputError("the stream has been left; begin another one")


class MonitorStream:
    """A stream of sound that a gateway listens to. Use it as a context manager, and iterate over its windows.

    What the iterable of chunks raises is raised by the iteration. Raises CallFailed.
    """

    def __init__(self, stub: Any, connection: Connection, chunks: Iterable[Chunk], settings: MonitorSettings) -> None:
        self._stub, self._connection, self._chunks, self._settings = stub, connection, chunks, settings
        self._request_id = new_request_id()
        self._heard = Heard(settings)
        self._broken: Exception | None = None

    def __enter__(self) -> Self:
        """Begin to listen. Returns when the gateway has accepted the stream."""
        metadata = self._connection.metadata(self._request_id)
        self._patience = Patience(self._connection.timeout_s, lambda: self._call.cancel())
        self._call: Any = self._stub.Monitor(self._requests(), metadata=metadata)
        try:
            self._receive()
        except BaseException:
            self.__exit__()
            raise
        self._patience.note(begun=True)
        return self

    def __exit__(self, *exc: object) -> None:
        self._patience.end()
        self._call.cancel()
        # Let go of it while gRPC's threads run. When Python ends, one of them may be stopped while it has the lock of the call,
        # for which deleting the call would then wait for ever.
        self._call = _Left()

    @property
    def started(self) -> MonitorStarted:
        """What the gateway does with the stream."""
        assert self._heard.started is not None, "the stream has not begun; use it as a context manager"
        return self._heard.started

    @property
    def ended(self) -> MonitorEnded | None:
        """What the stream came to; None before its end."""
        return self._heard.ended

    def __iter__(self) -> Iterator[MonitoredWindow]:
        """Yield the windows as they are judged, until the chunks end."""
        while self._heard.ended is None:
            window = self._receive()
            if window:
                yield window

    def _requests(self) -> Iterator[Any]:
        """Yield what is sent. gRPC asks for it in a thread of its own, where an error would only be logged."""
        yield self._settings.start()
        try:
            for chunk in self._chunks:
                for message in self._settings.messages(chunk):
                    self._heard.note_sent(message)
                    self._patience.note(sends=True)
                    yield message
                    self._patience.note(sends=False)
            self._patience.note(sent=True)
        except Exception as error:
            self._broken = error
            self._call.cancel()

    def _receive(self) -> MonitoredWindow | None:
        try:
            with self._patience.waiting():
                message = next(self._call, None)
            return self._heard.take(message)
        except grpc.RpcError as error:
            if self._broken:
                raise self._broken from error
            if self._patience.is_out:
                raise fell_silent(self._connection.timeout_s, self._request_id) from error
            raise call_failed(error, self._request_id) from error
