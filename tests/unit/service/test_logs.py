"""The log of a gateway has what is wrong, and no traceback for a client that left."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import logging
from grpc._cython import cygrpc
from avizor_service.logs import start_log

start_log()
# As grpc.aio writes them: in a call whose client has left, and in one whose answer failed.
grpc_aio = logging.getLogger("grpc._cython.cygrpc")
for error in (cygrpc.ExecuteBatchError("Failed execute_batch"), ValueError("of the gateway")):
    grpc_aio.error("raised by servicer method [/Embed]", exc_info=error)
grpc_aio.error("without an exception")
"""


def test_a_client_that_leaves_before_its_answer_is_not_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.splitlines() == [
        "ERROR grpc._cython.cygrpc: raised by servicer method [/Embed]",
        "ValueError: of the gateway",
        "ERROR grpc._cython.cygrpc: without an exception",
    ]
