"""Set up the log of a gateway: what it says, and what gRPC says needlessly."""

from __future__ import annotations

import logging

from grpc._cython.cygrpc import ExecuteBatchError

_GRPC_AIO = "grpc._cython.cygrpc"

# How a record begins of a header that is not UTF-8. Any client can send one, and it is refused or not looked at.
_BAD_HEADER = "Invalid encoding"


def start_log() -> None:
    """Write the log to standard error. It names the module that writes, unlike the warnings of a command that ends."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("avizor_service").setLevel(logging.INFO)
    logging.getLogger(_GRPC_AIO).addFilter(_is_of_the_gateway)


def _is_of_the_gateway(record: logging.LogRecord) -> bool:
    """Return whether a record may be written.

    A client may cancel, or its deadline may pass, while its answer or status is sent: that is not an error of the gateway.
    gRPC finds that it cannot send, and writes a traceback for each such call.
    """
    is_client_gone = record.exc_info is not None and isinstance(record.exc_info[1], ExecuteBatchError)
    return not is_client_gone and not str(record.msg).startswith(_BAD_HEADER)
