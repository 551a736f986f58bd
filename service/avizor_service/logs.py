"""Set up the log of a gateway: what it says, and what gRPC says needlessly."""

from __future__ import annotations

import logging

from grpc._cython.cygrpc import ExecuteBatchError

_GRPC_AIO = "grpc._cython.cygrpc"


def start_log() -> None:
    """Write the log to standard error. It names the module that writes, unlike the warnings of a command that ends."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("avizor_service").setLevel(logging.INFO)
    logging.getLogger(_GRPC_AIO).addFilter(_is_not_of_a_client_that_left)


def _is_not_of_a_client_that_left(record: logging.LogRecord) -> bool:
    """Return whether a record may be written.

    A client may cancel, or its deadline may pass, while its answer or status is sent: that is not an error of the gateway.
    gRPC finds that it cannot send, and writes a traceback for each such call.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], ExecuteBatchError))
