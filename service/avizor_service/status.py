"""The one table from our errors to gRPC codes, and what a caller is told."""

from __future__ import annotations

import logging
import uuid

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from avizor_inference import errors

_log = logging.getLogger(__name__)


# Most special first; the first that fits is taken.
_CODES: tuple[tuple[type[errors.AvizorError], int], ...] = (
    (errors.ModelNotFound, Code.NOT_FOUND),
    (errors.RequestError, Code.INVALID_ARGUMENT),
    (errors.MediaError, Code.INVALID_ARGUMENT),
    (errors.CalibrationError, Code.FAILED_PRECONDITION),
    (errors.VersionRefused, Code.FAILED_PRECONDITION),
    (errors.SettingsError, Code.FAILED_PRECONDITION),
    (errors.DeadlineExceeded, Code.DEADLINE_EXCEEDED),
    (errors.EngineUnavailable, Code.UNAVAILABLE),
    (errors.GatewayFull, Code.RESOURCE_EXHAUSTED),
)

# After this long a full gateway, or an engine that was away, is worth another try.
_RETRY_AFTER = Duration(seconds=1)


def status_of(error: Exception, field: str = "") -> Status:
    """google.rpc.Status for an error; `field` is the part of the request it is about, where the error itself names none.

    An error that is not of our tree was not expected: the caller gets a request id, and the log gets id and trace.
    """
    for kind, code in _CODES:
        if isinstance(error, kind):
            return Status(code=code, message=str(error), details=_details(error, code, field))
    request_id = uuid.uuid4().hex
    _log.error("request %s failed", request_id, exc_info=error)
    info = _packed(RequestInfo(request_id=request_id))
    return Status(code=Code.INTERNAL, message=f"internal error; quote request id {request_id}", details=[info])


async def abort(context: grpc.aio.ServicerContext, status: Status) -> None:
    """End a call with a status and its details."""
    code = next(each for each in grpc.StatusCode if each.value[0] == status.code)
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, status.message, trailing_metadata=details)


def _details(error: errors.AvizorError, code: int, field: str) -> list[Any]:
    if code == Code.INVALID_ARGUMENT:
        inner = getattr(error, "field", "")
        path = ".".join(part for part in (field, inner) if part)
        return [_packed(BadRequest(field_violations=[BadRequest.FieldViolation(field=path, description=str(error))]))]
    if code in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE):
        return [_packed(RetryInfo(retry_delay=_RETRY_AFTER))]
    return []


def _packed(message: BadRequest | RequestInfo | RetryInfo) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
