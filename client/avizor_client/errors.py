"""Hold every error that the client raises, in one tree, and read those of gRPC into it.

ClientError
InputError             nothing was sent: a file, an item or a setting is wrong
BadAnswer              what came back is no answer of a gateway
ItemFailed             one item could not be answered; it stands in the answer in place of a result
CallFailed             the whole call failed
InvalidArgument        a field of the request is wrong: `field` names it
NotFound               no such model or version
Unauthenticated        no valid token
PermissionDenied       the token may not do this
FailedPrecondition     the model cannot do this, such as a verdict without a calibration
Busy                   the gateway is full, and was so at every try: `retry_after_s` says when to come back
TooLarge               the message is larger than the gateway takes
Unavailable            gateway or engine cannot be reached
DeadlineExceeded       no answer in time
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from avizor_client.no_connection import LOOK, is_no_connection, why_no_connection


class ClientError(Exception):
    """Base of every error that the client raises on purpose."""


class InputError(ClientError):
    """A file, an item or a setting cannot be used. Nothing was sent."""


class BadAnswer(ClientError):
    """What came back is no answer of a gateway: another program listens at the address, or one of another release."""


class ItemFailed(ClientError):
    """One item could not be answered; the others of the call were.

    code: name of the gRPC code, such as `INVALID_ARGUMENT`. field: what in the item is wrong, such as `tensor`; may be empty.
    """

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.field = code, message, field


class CallFailed(ClientError):
    """A call failed as a whole.

    code: name of the gRPC code. field: the part of the request that is wrong, such as `items[3].tensor`; may be empty.
    retry_after_s: seconds after which the gateway may have room; None if it did not say. request_id: what the gateway's log
    has the call under.
    """

    def __init__(
        self, code: str, message: str, field: str = "", retry_after_s: float | None = None, request_id: str = ""
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.field = code, message, field
        self.retry_after_s, self.request_id = retry_after_s, request_id


class InvalidArgument(CallFailed):
    """A part of the request is wrong; `field` names it. To try again would not help."""


class NotFound(CallFailed):
    """No model, or no version of it, has that name."""


class Unauthenticated(CallFailed):
    """The call has no valid token."""


class PermissionDenied(CallFailed):
    """The token is valid, but may not make this call."""


class FailedPrecondition(CallFailed):
    """The model cannot do this; the message says what is missing, such as a calibration."""


class Busy(CallFailed):
    """The gateway was full at every try. `retry_after_s` says when to come back."""


class TooLarge(CallFailed):
    """A message is larger than the gateway, or this client, takes. To try again would not help."""


class Unavailable(CallFailed):
    """The gateway, or the engine behind it, could not be reached at any try."""


class DeadlineExceeded(CallFailed):
    """There was no answer in time."""


_KINDS: dict[str, type[CallFailed]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "NOT_FOUND": NotFound,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "FAILED_PRECONDITION": FailedPrecondition,
    "RESOURCE_EXHAUSTED": Busy,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}


# What gRPC says of an answer that is none, in words: of one that cannot be parsed, and where it still sends when a stream ends.
NO_MESSAGE, CUT_SHORT = "it is no message of avizor.v1", "the stream has ended without a last message"
_NO_ANSWER = {"Exception deserializing response!": NO_MESSAGE, "Internal error from Core": CUT_SHORT}

_LATE = "Deadline Exceeded"  # what it says of a call without an answer
_LIGHT_BYTES = 100_000  # a request of more takes a slow line a second and longer
_LARGE = {
    "CLIENT: Received message larger than max": (
        "the answer is larger than this client takes; ask about fewer items at once, or raise max_answer_mib"
    ),
    "SERVER: Received message larger than max": (
        "the request is larger than the gateway takes (--max-message-mib); send fewer or smaller items, or use a batch job"
    ),
}


def is_late(error: Any) -> bool:
    """Return whether a grpc.RpcError means that no answer came in time."""
    return str(error.details()) == _LATE


def call_failed(error: Any, request_id: str, after: str = "", sent_bytes: int = 0) -> CallFailed | BadAnswer:
    """Return what a grpc.RpcError means. request_id: that was sent with the call; the gateway may have given it another.

    after: of a call that was late, what the next one said. sent_bytes: of the request.
    """
    message = str(error.details())
    if message in _NO_ANSWER:
        return bad_answer(_NO_ANSWER[message])
    if is_late(error):
        why = f": {why_no_connection(after)}" if is_no_connection(after) else f"; allow more{_large(sent_bytes)}, and {LOOK}"
        message = f"no answer in time{why}"
    if is_no_connection(message):
        message = why_no_connection(message)
    for large, words in _LARGE.items():
        if large in message:
            message = words
    status = _status(error)
    retry_after_s = _retry_after_s(status)
    info = _detail(status, RequestInfo)
    code = error.code().name
    kind = _KINDS.get(code, CallFailed)
    if kind is Busy and retry_after_s is None:
        kind = TooLarge
    return kind(code, message, _field(status), retry_after_s, info.request_id if info else request_id)


def fell_silent(timeout_s: float, request_id: str) -> DeadlineExceeded:
    """Return the error of a stream on which a gateway said nothing for too long."""
    message = f"the gateway has said nothing for {timeout_s:g} s; allow more, and {LOOK}"
    return DeadlineExceeded("DEADLINE_EXCEEDED", message, request_id=request_id)


def bad_answer(why: str) -> BadAnswer:
    """Return the error of an answer that is none, with why."""
    return BadAnswer(f"the answer cannot be understood: {why}; see whether a gateway of this release is at the address")


def item_failed(status: Status) -> ItemFailed:
    """Return the error of one item."""
    _, _, field = _field(status).partition("].")  # the item's own place is where it stands in the answer
    return ItemFailed(Code.Name(status.code), status.message, field)


def _large(sent_bytes: int) -> str:
    """Return what else may help against a late answer to a request of so many bytes."""
    if sent_bytes <= _LIGHT_BYTES:
        return ""
    return f" (timeout_s) or send less at once: the request had {sent_bytes / 2**20:.1f} MiB, which take long on a slow line"


def _status(error: Any) -> Status:
    """Return the details of a failed call; empty if the server sent none, as nginx does."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            try:
                return Status.FromString(value)
            except DecodeError:
                break
    return Status()


def _detail(status: Status, kind: Any) -> Any:
    """Return the first detail of a kind; None if there is none, or one that cannot be read."""
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            try:
                packed.Unpack(found)
            except DecodeError:
                return None
            return found
    return None


def _field(status: Status) -> str:
    bad = _detail(status, BadRequest)
    return str(bad.field_violations[0].field) if bad and bad.field_violations else ""


def _retry_after_s(status: Status) -> float | None:
    retry = _detail(status, RetryInfo)
    return max(0.0, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9) if retry else None
