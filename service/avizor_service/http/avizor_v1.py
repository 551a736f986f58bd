"""Answer the RPCs of avizor.v1 over HTTP: as JSON under their own names, and with files under the names of models.

POST /avizor.v1.InferenceService/Classify            the request as JSON
GET  /v1/models                                      ListModels
GET  /v1/models/NAME[/versions/N]                    GetModel
POST /v1/models/NAME[/versions/N]:classify?top_k=3   a file, a form with several, or the rest of the request as JSON
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from starlette.datastructures import QueryParams
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_inference.items.kinds.base import TensorBytes
from avizor_service.calls import Call, Calls
from avizor_service.gateway import Gateway
from avizor_service.http import json_messages
from avizor_service.http.answers import JSON, send_error
from avizor_service.http.exchange import Endpoint, Made
from avizor_service.http.forms import Form, one_file, parsed_form, request_of
from avizor_service.http.refusals import Refusals
from avizor_service.http.transport import HttpTransport
from avizor_service.message_fields import PART_BYTES
from avizor_service.message_memory import MessageMemory
from avizor_service.servicer import SERVICE, UNARY

_FORM, _URL_ENCODED = "multipart/form-data", "application/x-www-form-urlencoded"

# A form is in memory twice while it is read.
_COPIES = 2

# Reads the request of a call: what the path says is in the scope.
Read = Callable[[Call, HttpTransport], Awaitable[Message]]


@dataclass(frozen=True)
class _UnknownVerb:
    """Answers what a model is asked for by a verb that there is not. verbs: that there are."""

    verbs: Sequence[str]
    refusals: Refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"nothing is called ':{scope['path_params']['verb'][:40]}' here; there are {', '.join(self.verbs)}"
        await self.refusals.unknown_path(scope, receive, send, message)


@dataclass(frozen=True)
class AvizorV1:
    """Answers the RPCs of avizor.v1 but Monitor, which is gRPC's alone."""

    gateway: Gateway
    calls: Calls
    messages: MessageMemory
    refusals: Refusals

    def routes(self) -> Iterable[Route]:
        """Yield what each path is answered by."""
        for rpc, (kind, _) in UNARY.items():
            yield self._route(f"/{SERVICE}/{rpc}", rpc, self._as_json(kind), "POST")
        yield self._route("/v1/models", "ListModels", self._listing, "GET")
        of_items = {rpc: kind for rpc, (kind, _) in UNARY.items() if "items" in kind.DESCRIPTOR.fields_by_name}
        verbs = {rpc: rpc[0].lower() + rpc[1:] for rpc in of_items}
        unknown = _UnknownVerb(sorted(verbs.values()), self.refusals)
        for path in ("/v1/models/{model}", "/v1/models/{model}/versions/{version}"):
            for rpc, kind in of_items.items():
                yield self._route(f"{path}:{verbs[rpc]}", rpc, self._of_items(kind), "POST")
            yield Route(f"{path}:{{verb:path}}", unknown)
            yield self._route(path, "GetModel", self._getting, "GET")  # its pattern fits those before, too

    def _route(self, path: str, rpc: str, read: Read, method: str) -> Route:
        threads, made = self.gateway.threads, self._made(rpc, read)
        return Route(path, Endpoint(self.calls, self.messages, threads, self.refusals, send_error, rpc, method, made))

    def _made(self, rpc: str, read: Read) -> Made:
        answer = UNARY[rpc][1]

        async def made(call: Call, transport: HttpTransport) -> bytes:
            # No variable holds the request, which may be large, while the answer waits for its client.
            message = await answer(self.gateway, await read(call, transport), call)
            assert isinstance(message, Message), "only the Open Inference Protocol answers with bytes"
            call.hold(message.ByteSize())  # it may wait for its turn
            return await json_messages.json_of(message, self.gateway.threads, self.gateway.settings.max_answer_mib << 20)

        return made

    def _as_json(self, kind: type[Message]) -> Read:
        async def read(call: Call, transport: HttpTransport) -> Message:
            _require_json(transport)
            return await json_messages.received(call, kind, self.gateway.threads, {})

        return read

    async def _listing(self, _call: Call, _transport: HttpTransport) -> Message:
        return pb.ListModelsRequest()

    async def _getting(self, _call: Call, transport: HttpTransport) -> Message:
        given = _given(transport.scope)
        return pb.GetModelRequest(name=given["model"], version=given.get("version"))

    def _of_items(self, kind: type[Any]) -> Read:
        async def read(call: Call, transport: HttpTransport) -> Message:
            given, query = _given(transport.scope), QueryParams(transport.scope["query_string"]).multi_items()
            content_type = transport.header("content-type")
            media_type = _media_type(content_type)
            if media_type == JSON:
                if query:
                    raise InvalidInput(f"a JSON body has all fields; put {query[0][0][:50]!r} there, not in the query")
                return await json_messages.received(call, kind, self.gateway.threads, given)
            if media_type in ("", _URL_ENCODED):
                raise InvalidInput(
                    f"Content-Type {media_type or '(none)'} does not say what the body is; send {_FORM}, {JSON}, or one "
                    "file with its own type or application/octet-stream",
                    field="content-type",
                )
            version = given.get("version") or _number(dict(query).get("version", "0"))
            model = await self.gateway.opened(call, given["model"], version)
            content = model.manifest.input.content or TensorBytes
            return await self._from_files(call, kind, content_type, query, given, content.name)

        return read

    async def _from_files(
        self, call: Call, kind: type[Any], content_type: str, query: list[tuple[str, str]], given: dict[str, Any], taken: str
    ) -> Message:
        body = [await call.receive(_form_bytes, _most_form_bytes)]
        is_form = content_type.lower().startswith(_FORM)
        most = self.gateway.settings.max_items

        def made() -> Message:
            body_ = body.pop()
            form: Form = parsed_form(content_type, body_, most) if is_form else one_file(content_type, body_)
            del body_  # a form has its own copy
            return request_of(kind, form, query, given, taken)

        return await self.gateway.threads.wait_for(made)


async def _form_bytes(body: bytes) -> int:
    return _most_form_bytes(len(body))


def _most_form_bytes(length: int) -> int:
    """Return for how many bytes a form of a length counts: its number of parts is bounded."""
    return _COPIES * length + PART_BYTES


def _given(scope: Scope) -> dict[str, Any]:
    """Return the fields that a path has. Raises InvalidInput for a version that is none."""
    given = dict(scope["path_params"])
    return given | {"version": _number(given["version"])} if "version" in given else given


def _number(version: str) -> int:
    """Return a version as a number; 0 is the newest. Raises InvalidInput."""
    if not (version.isascii() and version.isdigit() and len(version) < 19):
        raise InvalidInput(f"version {version[:50]!r} is not a number; 0 is the newest", field="version")
    return int(version)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _require_json(transport: HttpTransport) -> None:
    kind = _media_type(transport.header("content-type"))
    if kind != JSON:
        raise InvalidInput(
            f"Content-Type {kind[:50] or '(none)'} is not {JSON}; send the request as JSON", field="content-type"
        )
