"""Send answers and errors over HTTP: an error is a google.rpc.Status as JSON, with the HTTP code that is closest to its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from google.protobuf.json_format import MessageToJson
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# As google.rpc.Code says of each; 413 for a request that is too large, see `http_code`.
_HTTP_CODES = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.PERMISSION_DENIED: 403,
    Code.UNAUTHENTICATED: 401,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
}

_TOO_LARGE = 413

JSON = "application/json"


def http_code(status: Status) -> int:
    """Return the HTTP code of a status. What is exhausted and does not pass by itself is the request's own size."""
    if status.code == Code.RESOURCE_EXHAUSTED and retry_s(status) is None:
        return _TOO_LARGE
    return _HTTP_CODES[status.code]


def retry_s(status: Status) -> float | None:
    """Return after how many seconds to try again; None if a status does not say."""
    for detail in status.details:
        retry = RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return None


def error_headers(status: Status) -> dict[str, str]:
    """Return the headers that say when to try again, in whole seconds as HTTP has it, and how to name a token."""
    wait_s = retry_s(status)
    headers = {} if wait_s is None else {"retry-after": str(max(1, math.ceil(wait_s)))}
    return headers | ({"www-authenticate": "Bearer"} if status.code == Code.UNAUTHENTICATED else {})


async def send_error(
    scope: Scope, receive: Receive, send: Send, status: Status, headers: Mapping[str, str], code: int | None = None
) -> None:
    """Send a status as JSON. headers: besides those of the status. code: of HTTP, if it is not the one of the status."""
    text = MessageToJson(status, indent=None, ensure_ascii=False)
    await Response(text, code or http_code(status), {**headers, **error_headers(status)}, JSON)(scope, receive, send)


async def send_open_error(
    scope: Scope, receive: Receive, send: Send, status: Status, headers: Mapping[str, str], code: int | None = None
) -> None:
    """Send a status as the Open Inference Protocol has it: a text."""
    text = json.dumps({"error": status.message})
    await Response(text, code or http_code(status), {**headers, **error_headers(status)}, JSON)(scope, receive, send)
