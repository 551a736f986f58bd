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


def take_no_more(listener: socket.socket) -> bool:
    """Let nobody begin a connection; those that have begun still come. Returns False where the system cannot do that."""
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
