"""Run one worker: `python -m avizor_service.workers.worker FOLDER NUMBER`, started by `avizor serve --workers N`.

Its standard input is a socket to the process that started it.
"""

from __future__ import annotations

import os
import socket
import sys
import warnings
from pathlib import Path

from prometheus_client import values

# Each worker counts in files of its place, not of its process: one that takes the place of another goes on counting there.
# This comes before any metric is made.
if __name__ == "__main__":
    values.ValueClass = values.MultiProcessValue(lambda: int(sys.argv[2]))
    # Labels are removed of gauges alone, and these are not read from the files.
    warnings.filterwarnings("ignore", "Removal of labels has not been implemented")

import uvloop

from avizor_inference.errors import AvizorError
from avizor_service.server import run
from avizor_service.workers.member import Member
from avizor_service.workers.shares import Place


async def _work(place: Place) -> int:
    first = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)  # or what this process starts would have the socket, and outlive it
    member = await Member.open(place, first)
    try:
        await run(place.settings_of_worker(), member.started, member)
    except AvizorError as error:
        member.failed(str(error))
        return 1
    finally:
        await member.close()
    return 0


if __name__ == "__main__":
    sys.exit(uvloop.run(_work(Place.read(Path(sys.argv[1]), int(sys.argv[2])))))
