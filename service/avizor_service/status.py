"""Map Avizor's errors, in one table, to gRPC codes and to what a caller is told."""

from __future__ import annotations

import asyncio
import logging

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc._cython.cygrpc import ExecuteBatchError

from avizor_inference import errors
from avizor_service.batches import call_ended_early
from avizor_service.call_record import REQUEST_ID, current_id, current_record

_log = logging.getLogger(__name__)


# Subclasses before their base: the first class that fits is taken.
_CODES: tuple[tuple[type[errors.AvizorError], int], ...] = (
    (errors.ModelNotFound, Code.NOT_FOUND),
    (errors.SharedMemoryUnknown, Code.NOT_FOUND),
    (errors.RequestError, Code.INVALID_ARGUMENT),
    (errors.MediaError, Code.INVALID_ARGUMENT),
    (errors.CalibrationError, Code.FAILED_PRECONDITION),
    (errors.NotExplainable, Code.FAILED_PRECONDITION),
    (errors.VersionRefused, Code.FAILED_PRECONDITION),
    (errors.RepositoryError, Code.UNAVAILABLE),
    (errors.SettingsError, Code.FAILED_PRECONDITION),
    (errors.DeadlineExceeded, Code.DEADLINE_EXCEEDED),
    (errors.EngineUnavailable, Code.UNAVAILABLE),
    (errors.EngineBusy, Code.RESOURCE_EXHAUSTED),
    (errors.GpuFull, Code.RESOURCE_EXHAUSTED),
    (errors.GatewayFull, Code.RESOURCE_EXHAUSTED),
    (errors.Unauthenticated, Code.UNAUTHENTICATED),
    (errors.NotAllowed, Code.PERMISSION_DENIED),
    (errors.GatewayStopping, Code.UNAVAILABLE),
    (errors.MessageTooLarge, Code.RESOURCE_EXHAUSTED),
)

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}

# Codes of what passes by itself.
_TRY_AGAIN = (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE)

# Bytes of an error's text, and of the name of a field, that are sent. A client may have chosen the name.
_LONGEST_TEXT, _LONGEST_FIELD = 1500, 300

# Seconds that a caller should wait before it tries a full gateway, or an engine that is away, again: if it is not known, at
# least, and at most.
_RETRY_S, _SHORTEST_RETRY_S, _LONGEST_RETRY_S = 1.0, 0.05, 60.0


def status_of(error: Exception, field: str = "") -> Status:
    """Return the google.rpc.Status of an error. field: the part of the request that the error is about, before its own `field`.

    An error outside Avizor's tree was not expected: the caller gets the call's request id, the log gets it and the traceback.
    """
    for kind, code in _CODES:
        if isinstance(error, kind):
            return Status(code=code, message=_text(error), details=_details(error, code, field))
    request_id = current_id()
    if isinstance(error, errors.EngineError):  # some graphs fail at some inputs, again and again: its text says all
        _log.error("request %s failed: %s", request_id, error)
    else:
        _log.error("request %s failed", request_id, exc_info=error)
    info = _packed(RequestInfo(request_id=request_id))
    return Status(code=Code.INTERNAL, message=f"internal error; quote request id {request_id}", details=[info])


def item_status(error: Exception, number: int) -> Status:
    """Return the status of one item of a request, and note that it has one. number: its place in the request, from 0."""
    if record := current_record():
        record.failed_items += 1
    return status_of(error, field=f"items[{number}]")


def grpc_code(status: Status) -> grpc.StatusCode:
    """Return the code of a status as gRPC's enumeration has it."""
    return _GRPC_CODES[status.code]


def end(context: grpc.aio.ServicerContext, status: Status) -> None:
    """Let a call end with a status and its details when its handler returns. `context.abort` would keep the call in memory."""
    context.set_code(_GRPC_CODES[status.code])
    context.set_details(status.message)
    details = ("grpc-status-details-bin", status.SerializeToString())
    context.set_trailing_metadata((details, (REQUEST_ID, current_id()), *_pushback(status)))


async def send_status(context: grpc.aio.ServicerContext) -> None:
    """Send the status that `end` has set, and nothing else: what a handler of one answer returns with after a failure.

    When such a handler returns, gRPC sends an empty message before the status, and a client's retry policy takes the call for
    answered. The error by which gRPC ends an aborted call would keep the call in memory, if it knew where it was raised.
    """
    try:
        await context.abort(context.code(), context.details())
    except grpc.aio.AbortError as error:
        error.__traceback__ = None
    except (asyncio.CancelledError, ExecuteBatchError):  # the client has left
        call_ended_early()
        raise


def _pushback(status: Status) -> tuple[tuple[str, str], ...]:
    """Return when the retries of gRPC's own clients should come, in the words of its retry policy; -1 is never."""
    if status.code not in _TRY_AGAIN:
        return ()
    for detail in status.details:
        retry = RetryInfo()
        if detail.Unpack(retry):
            return (("grpc-retry-pushback-ms", str(retry.retry_delay.ToMilliseconds())),)
    return (("grpc-retry-pushback-ms", "-1"),) if status.code == Code.RESOURCE_EXHAUSTED else ()


def _details(error: errors.AvizorError, code: int, field: str) -> list[Any]:
    if code == Code.INVALID_ARGUMENT:
        inner = getattr(error, "field", "")
        path = _shortened(".".join(part for part in (field, inner) if part), _LONGEST_FIELD)
        return [_packed(BadRequest(field_violations=[BadRequest.FieldViolation(field=path, description=_text(error))]))]
    if code in _TRY_AGAIN and not isinstance(error, errors.MessageTooLarge):
        return [_packed(RetryInfo(retry_delay=_retry_delay(getattr(error, "retry_after_s", None))))]
    return []


def _text(error: Exception) -> str:
    """Return the text of an error. It travels in headers, twice, and gRPC bounds their size."""
    return _shortened(str(error), _LONGEST_TEXT)


def _shortened(whole: str, most_bytes: int) -> str:
    """Return a text that has at most so many bytes in a header, and three points where it is cut off."""
    text = whole[: most_bytes + 1].encode(errors="replace").decode()
    if _header_bytes(text) <= most_bytes:
        return text
    while _header_bytes(text) > most_bytes:
        text = text[: len(text) * 9 // 10]
    return f"{text}..."


def _header_bytes(text: str) -> int:
    """Return the size of a text in a header: every byte that is not printable ASCII takes three."""
    return len(text) if text.isascii() and text.isprintable() else 3 * len(text.encode())


def _retry_delay(expected_s: float | None) -> Duration:
    seconds = _RETRY_S if expected_s is None else min(max(expected_s, _SHORTEST_RETRY_S), _LONGEST_RETRY_S)
    delay = Duration()
    delay.FromMilliseconds(round(seconds * 1000))
    return delay


def _packed(message: BadRequest | RequestInfo | RetryInfo) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
