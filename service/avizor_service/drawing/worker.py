"""Draw maps: `python -m avizor_service.drawing.worker`, started by the gateway.

It reads requests from its standard input, answers one after the other, and ends with it, or with the process that started
it. See messages.py.
"""

from __future__ import annotations

import gc
import pickle
import sys
from typing import BinaryIO

import numpy as np

from avizor_inference.error_text import lacks_memory
from avizor_inference.errors import AvizorError
from avizor_inference.explain.heat_map import HeatMap
from avizor_inference.explain.pictures.figure import new_figure, png_of
from avizor_inference.explain.pictures.maps import draw_maps
from avizor_service.decoders.worker import end_with, set_limits
from avizor_service.drawing.messages import ERROR, HEAD, PNG, SIZE

# Rows of a matrix that OpenBLAS multiplies with all its means.
_LARGE = 256


def _main(parent: int, memory_mib: int) -> None:
    end_with(parent)
    png_of(new_figure(1, 1))  # loads matplotlib, whose memory is not that of a picture
    np.ones((_LARGE, _LARGE)) @ np.ones((_LARGE, _LARGE))  # OpenBLAS takes its memory, and ends a process that has none for it
    gc.collect()
    gc.freeze()
    set_limits(memory_mib)
    while len(size := sys.stdin.buffer.read(SIZE.size)) == SIZE.size:
        _serve(sys.stdin.buffer.read(*SIZE.unpack(size)), sys.stdout.buffer)


def _serve(request: bytes, out: BinaryIO) -> None:
    kind, answer = PNG, b""
    try:
        heat_map, spec = pickle.loads(request)  # noqa: S301 - from the gateway
        assert isinstance(heat_map, HeatMap)
        answer = png_of(draw_maps([heat_map], spec))
    except Exception as error:
        known = isinstance(error, AvizorError)
        text = str(error) if known else "it takes too much memory" if lacks_memory(error) else type(error).__name__
        kind, answer = ERROR, text.encode()
    out.write(HEAD.pack(kind, len(answer)))
    out.write(answer)
    out.flush()
    gc.collect()  # a figure refers to itself: those of hours would lie here, 20 MiB of them


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
