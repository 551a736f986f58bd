"""drawing/: pictures come from a process with limits, which is replaced when it exceeds them or ends."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import io
import os
import pickle
import resource
import signal
from collections import Counter
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from matplotlib.figure import Figure
from PIL import Image

from avizor_inference.errors import InvalidInput
from avizor_inference.explain.heat_map import Axis, HeatMap
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import ImageInput
from avizor_service.drawing import worker
from avizor_service.drawing.drawer import Drawer, open_drawer
from avizor_service.drawing.messages import HEAD, PNG


def heat_map(size: int) -> tuple[HeatMap, ImageInput]:
    values = np.random.default_rng(0).random((size, size), np.float32) - 0.5
    row = RawRow("a.png", 0, np.zeros((size, size, 3), np.uint8))
    axis = Axis(np.arange(size + 1.0) ** 1.01, "pixels")  # uneven places, which take the longest
    return HeatMap("occlusion", row, "3", 0.5, "probability", values, axis, axis), ImageInput(
        height=size, width=size, channels=3
    )


@pytest.fixture(scope="module")
def drawer() -> Iterator[Drawer]:
    with open_drawer(memory_mib=256, timeout_s=60) as drawer:
        yield drawer
        pid = pid_of(drawer)
    assert not psutil.pid_exists(pid)


def pid_of(drawer: Drawer) -> int:
    assert drawer._process is not None
    return drawer._process.pid


def draw(drawer: Drawer, size: int = 8) -> Image.Image:
    return Image.open(io.BytesIO(drawer.draw(*heat_map(size), lambda: False)))


def test_one_process_draws_one_picture_after_the_other_and_is_replaced_when_it_was_killed(drawer: Drawer) -> None:
    assert draw(drawer).format == "PNG"
    pid = pid_of(drawer)
    assert draw(drawer, 16).width > 100
    assert pid_of(drawer) == pid
    os.kill(pid, signal.SIGKILL)
    psutil.Process(pid).wait(30) if psutil.pid_exists(pid) else None
    assert draw(drawer).format == "PNG"
    assert pid_of(drawer) != pid


def test_a_picture_that_nobody_wants_any_more_is_given_up(drawer: Drawer) -> None:
    draw(drawer)
    pid, looks = pid_of(drawer), iter((False, False))
    with pytest.raises(concurrent.futures.CancelledError):
        drawer.draw(*heat_map(256), lambda: next(looks, True))
    assert not psutil.pid_exists(pid)
    assert draw(drawer).format == "PNG"


def test_a_picture_that_takes_too_long_or_too_much_memory_is_refused(drawer: Drawer) -> None:
    with pytest.raises(InvalidInput, match=r"not drawn: it takes too much memory; numbers alone take less") as caught:
        draw(drawer, 2048)
    assert caught.value.field == "format"
    assert draw(drawer).format == "PNG"
    with open_drawer(memory_mib=256, timeout_s=0.01) as hasty, pytest.raises(InvalidInput, match="it takes too long"):
        draw(hasty, 256)


def test_a_first_picture_that_takes_too_much_memory_is_told_as_later_ones_are() -> None:
    """OpenBLAS takes its memory with the first large product, and ends a process that has none for it."""
    with open_drawer(memory_mib=256, timeout_s=60) as new:
        with pytest.raises(InvalidInput, match="not drawn: it takes too much memory"):
            draw(new, 2048)
        assert draw(new).format == "PNG"


def test_a_process_that_does_not_take_a_request_is_replaced_in_time(drawer: Drawer) -> None:
    """The request is more than a pipe holds."""
    draw(drawer)
    pid = pid_of(drawer)
    os.kill(pid, signal.SIGSTOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawer, "_timeout_s", 0.3)
        with pytest.raises(InvalidInput, match="not drawn: it takes too long"):
            draw(drawer, 256)
    assert not psutil.pid_exists(pid)
    assert draw(drawer).format == "PNG"


def test_pictures_are_drawn_for_a_gateway_with_more_than_a_thousand_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with open_drawer(memory_mib=256, timeout_s=60) as drawer:
            assert draw(drawer).format == "PNG"


def test_nothing_is_left_of_a_picture_until_the_next_one() -> None:
    out = io.BytesIO()
    gc.collect()
    gc.disable()
    try:
        before = figures_alive()
        worker._serve(pickle.dumps(heat_map(8)), out)
        after = figures_alive()
    finally:
        gc.enable()
    kind, _ = HEAD.unpack(out.getvalue()[: HEAD.size])
    assert kind == PNG
    assert after == before


def figures_alive() -> int:
    # by type(): isinstance() would ask a weak proxy for its class, and another test's may be dead
    kinds = Counter(map(type, gc.get_objects()))
    return sum(count for kind, count in kinds.items() if issubclass(kind, Figure))
