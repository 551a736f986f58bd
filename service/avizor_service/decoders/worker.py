"""Decode items in a process of their own: `python -m avizor_service.decoders.worker`, started by the gateway.

It reads requests from the socket that is its standard input, answers one after the other, and ends with the socket, or with the
process that started it. See messages.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import BinaryIO

from avizor_inference.error_text import lacks_memory
from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items import audio, images, input_spec  # noqa: F401 - loaded before the first item, and the limit
from avizor_inference.items.av_sound import load_av
from avizor_inference.items.decode import decode_item
from avizor_inference.items.signals import windows_of_signal  # noqa: F401
from avizor_service.decoders import messages

_PR_SET_PDEATHSIG = 1


def _main(parent: int, memory_mib: int) -> None:
    end_with(parent)
    load_av()  # its memory is not that of an item
    set_limits(memory_mib)
    with socket.socket(fileno=os.dup(0)) as connection, connection.makefile("rb") as requests:
        _be_silent()
        connection.sendall(messages.READY)
        while len(prefix := requests.read(messages.PREFIX.size)) == messages.PREFIX.size:
            _serve(connection, requests, prefix, memory_mib)


def _serve(connection: socket.socket, requests: BinaryIO, prefix: bytes, memory_mib: int) -> None:
    """Answer one request. Nothing of it is kept."""
    head_bytes, body_bytes = messages.PREFIX.unpack(prefix)
    request = messages.unpack_request(requests.read(head_bytes), requests.read(body_bytes))
    for part in messages.joined(_answer(request, memory_mib)):
        connection.sendall(part)


def _answer(request: messages.Request, memory_mib: int) -> messages.Parts:
    limits = request.limits
    try:
        return messages.pack_item(decode_item(request.content, request.spec, limits.windows, limits.bytes))
    except Exception as error:
        if lacks_memory(error):
            return messages.pack_error(
                MediaError(f"decoding the item takes more than {memory_mib} MiB of memory; send a smaller one, or in parts")
            )
        return messages.pack_error(error, "" if isinstance(error, MediaError | InvalidInput) else traceback.format_exc())


def end_with(parent: int) -> None:
    """End this process with its parent, also while it is busy. Linux does it; elsewhere it ends with the socket."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before
        sys.exit(1)


def set_limits(memory_mib: int) -> None:
    """Allow so much memory besides that of the idle process. If the machine runs out of it, a decoder is ended first."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # there is no such file but on Linux
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (memory_mib << 20)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)  # `ulimit -v` of the gateway; it cannot be raised
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        Path("/proc/self/oom_score_adj").write_text("1000")


def _be_silent() -> None:
    """Drop what libraries of C write about damaged files: a line for each would fill the gateway's log."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)


if __name__ == "__main__":
    try:
        _main(int(sys.argv[1]), int(sys.argv[2]))
    except MemoryError:
        sys.exit(messages.OUT_OF_MEMORY)
    except ConnectionError:
        sys.exit(0)  # the gateway has ended
