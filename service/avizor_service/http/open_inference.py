"""Answer the Open Inference Protocol's REST form: JSON, with tensors as numbers or as binary data after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.routing import Route

from avizor_inference.errors import InvalidInput
from avizor_service.calls import Call, Calls
from avizor_service.gateway import Gateway
from avizor_service.http.answers import send_open_error
from avizor_service.http.exchange import Endpoint, Made
from avizor_service.http.json_messages import json_bytes, most_json_bytes
from avizor_service.http.open_messages import plain, text_of
from avizor_service.http.refusals import Refusals
from avizor_service.http.tensor_bodies import (
    HEADER_LENGTH,
    answer_body,
    header_length,
    read_body,
    ready_only,
)
from avizor_service.http.transport import HttpTransport
from avizor_service.message_memory import MessageMemory
from avizor_service.open_inference import describe
from avizor_service.open_inference.infer import infer


@dataclass(frozen=True)
class OpenInference:
    """Answers the paths of the protocol but health checks, which need no token."""

    gateway: Gateway
    calls: Calls
    messages: MessageMemory
    refusals: Refusals

    def routes(self) -> Iterable[Route]:
        """Yield what each path is answered by."""
        yield self._route("/v2", "ServerMetadata", "GET", self._server)
        yield self._route("/v2/repository/index", "RepositoryIndex", "POST", self._index)
        yield self._route("/v2/models/stats", "ModelStatistics", "GET", self._statistics)
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            yield self._route(f"{path}/ready", "ModelReady", "GET", self._ready)
            yield self._route(f"{path}/config", "ModelConfig", "GET", self._config)
            yield self._route(f"{path}/stats", "ModelStatistics", "GET", self._statistics)
            yield self._route(f"{path}/infer", "ModelInfer", "POST", self._infer)
            yield self._route(path, "ModelMetadata", "GET", self._metadata)

    def _route(self, path: str, rpc: str, method: str, answer: Made) -> Route:
        threads = self.gateway.threads
        # As Triton's: its client for asyncio asks for compressed answers always, and reads them of `infer` alone.
        packs = rpc == "ModelInfer"
        endpoint = Endpoint(self.calls, self.messages, threads, self.refusals, send_open_error, rpc, method, answer, packs)
        return Route(path, endpoint)

    async def _server(self, _call: Call, _transport: HttpTransport) -> bytes:
        return text_of(plain(describe.server_metadata()))

    async def _index(self, call: Call, _transport: HttpTransport) -> bytes:
        is_ready = ready_only(await call.receive(json_bytes, most_json_bytes))
        index = plain(await describe.repository_index(self.gateway, call, ready_only=is_ready))
        return text_of(index.get("models", []))

    async def _ready(self, call: Call, transport: HttpTransport) -> bytes:
        if not await describe.model_ready(self.gateway, call, *_named(transport)):
            raise InvalidInput("the model has no such version that is ready")  # the code is Triton's
        return b""

    async def _config(self, call: Call, transport: HttpTransport) -> bytes:
        config = (await describe.model_config(self.gateway, call, *_named(transport))).config
        return text_of(plain(config, zeros=True))

    async def _metadata(self, call: Call, transport: HttpTransport) -> bytes:
        return text_of(plain(await describe.model_metadata(self.gateway, call, *_named(transport))))

    async def _statistics(self, call: Call, transport: HttpTransport) -> bytes:
        statistics = await describe.model_statistics(self.gateway, call, *_named(transport))
        return text_of(plain(statistics, zeros=True, unset=True))

    async def _infer(self, call: Call, transport: HttpTransport) -> bytes:
        name, version = _named(transport)
        length = header_length(transport.header(HEADER_LENGTH))

        async def counted(body: bytes) -> int:
            return len(body) + await json_bytes(body if length is None else body[:length])

        def most_counted(size: int) -> int:
            return size + most_json_bytes(size if length is None else min(size, length))

        threads = self.gateway.threads
        # No variable holds the body, which may be large, while its tensors wait for the engine.
        request, form = await read_body(threads, name, version, await call.receive(counted, most_counted), length)
        answer = await infer(self.gateway, request, call)
        del request
        call.hold(answer.size)  # it may wait for its turn
        most = self.gateway.settings.max_answer_mib << 20
        made, json_length = await answer_body(threads, answer, form, most)
        if json_length is not None:
            transport.answer_header("content-type", "application/octet-stream")
            transport.answer_header(HEADER_LENGTH, str(json_length))
        return made


def _named(transport: HttpTransport) -> tuple[str, str]:
    """Return the model and the version that a path names; empty for what it does not name."""
    given = transport.scope["path_params"]
    return given.get("model", ""), given.get("version", "")
