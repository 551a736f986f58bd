"""Take no more connections at a listener, and lose none: the system ends those that still wait there when it is closed."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import sys

_SO_ATTACH_FILTER = 26  # Linux

# A filter of packets, see socket(7) and the kernel's networking/filter: it drops those that begin a connection (SYN without
# ACK), and no others. Clients send them again after a second.
_FLAGS_OF_TCP, _SYN, _ACK = 13, 0x02, 0x10
_PROGRAM = (
    (0x30, 0, 0, _FLAGS_OF_TCP),  # load this byte of the header
    (0x54, 0, 0, _SYN | _ACK),  # keep these bits
    (0x15, 0, 1, _SYN),  # go on if they are this, else leave one out
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all bytes
)


def take_no_more(listener: socket.socket) -> None:
    """Let nobody begin a connection; those that have begun still come.

    Where the system refuses the filter (a container may lack the right), one at most gets in for each that is taken.
    """
    if not _drops_beginnings(listener):
        listener.listen(0)  # a shorter queue for the same listener: who finds it full begins again after a second


def _drops_beginnings(listener: socket.socket) -> bool:
    """Have the system drop the packets that begin a connection; return whether it does."""
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _PROGRAM))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_PROGRAM), ctypes.addressof(program)))
    except OSError:
        return False
    return True


def has_waiting(listener: socket.socket) -> bool:
    """Return whether connections wait to be taken."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
