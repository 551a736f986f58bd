"""Find the processes and the shared memory of a running server."""

from __future__ import annotations

import os
from pathlib import Path

from triton_server.server import TritonServer


def group(leader: int) -> set[int]:
    """The processes of a process group, without those that have ended and wait to be collected by their parent."""
    members = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, process_group = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # ended while we looked
            continue
        if int(process_group) == leader and state != "Z":
            members.add(int(status.parent.name))
    return members


def shared_memory(server: TritonServer) -> set[str]:
    """The regions of this server."""
    return {name for name in os.listdir("/dev/shm") if server.identity in name}
