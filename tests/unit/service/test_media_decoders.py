"""media_decoders.py: real processes decode items as decode_item does, within limits, and are replaced when they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from integration.gateway import png, wav
from integration.jobs import eventually
from support.av_files import encoded, sound
from support.media import claimed_png, decoders_of, silence
from support.sounds import SOUND, tone

from avizor_inference.errors import AvizorError, DeadlineExceeded, MediaError
from avizor_inference.items.decode import Item, decode_item
from avizor_inference.items.input_spec import ImageInput, InputSpec
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.kinds.base import Content
from avizor_inference.items.kinds.image import ImageFile
from avizor_service.media_decoders import MediaDecoders, open_media_decoders
from avizor_service.metrics import Metrics
from avizor_service.settings import Settings

IMAGE = ImageInput(height=32, width=32, channels=3)
PICTURE = ImageFile(png(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)))
RECORDING = SoundFile(wav(np.stack([tone(3.1), 2 * tone(3.1, seed=1)], axis=1)))
BIG = ImageFile(claimed_png(8000, 8000, b"\0" * (8000 * 32001), colour=6))  # RGBA, complete


@contextlib.contextmanager
def opened(**settings: Any) -> Iterator[tuple[MediaDecoders, Metrics]]:
    metrics = Metrics()
    with open_media_decoders(Settings(Path("models"), **({"decoders": 1} | settings)), metrics) as decoders:
        yield decoders, metrics


@pytest.fixture(scope="module")
def decoders() -> Iterator[MediaDecoders]:
    with opened() as (decoders, _):
        yield decoders


def run(work: Coroutine[Any, Any, Item]) -> Item:
    return asyncio.run(work)


def pid_of(decoders: MediaDecoders) -> int:
    (pid,) = decoders.pids()
    return pid


def ended(metrics: Metrics, reason: str) -> float | None:
    return metrics.registry.get_sample_value("avizor_decoders_ended_total", {"reason": reason})


def assert_same(item: Item, wanted: Item) -> None:
    np.testing.assert_array_equal(item.rows, wanted.rows)
    assert item.rows.dtype == wanted.rows.dtype
    assert (item.spans, item.is_short, item.level) == (wanted.spans, wanted.is_short, wanted.level)


@pytest.mark.parametrize(
    ("content", "spec"),
    [
        (PICTURE, IMAGE),
        (RECORDING, SOUND),
        (RECORDING, SOUND.model_copy(update={"channels": 2, "hop_samples": 64})),  # more rows than the socket holds
        (SoundFile(wav(tone(0.1))), SOUND),
    ],
)
def test_an_item_is_the_same_as_without_a_process(decoders: MediaDecoders, content: Content, spec: InputSpec) -> None:
    assert_same(run(decoders.decode(content, spec)), decode_item(content, spec))


@pytest.mark.parametrize(
    ("content", "spec"), [(ImageFile(b"no image"), IMAGE), (SoundFile(wav(tone(1.0))[:-99]), SOUND), (PICTURE, SOUND)]
)
def test_an_error_is_the_same_as_without_a_process(decoders: MediaDecoders, content: Content, spec: InputSpec) -> None:
    with pytest.raises(AvizorError) as wanted:
        decode_item(content, spec)
    with pytest.raises(AvizorError) as caught:
        run(decoders.decode(content, spec))
    assert (type(caught.value), str(caught.value), vars(caught.value)) == (
        type(wanted.value),
        str(wanted.value),
        vars(wanted.value),
    )


def test_an_item_of_more_bytes_than_it_may_have_is_refused_while_it_is_decoded(decoders: MediaDecoders) -> None:
    long = SoundFile(silence(100 * 4096))
    assert len(run(decoders.decode(long, SOUND, max_bytes=100 * 4096 * 4)).rows) == 100
    with pytest.raises(MediaError, match=r"decodes to more than the 1\.6 MiB that are left for it"):
        run(decoders.decode(long, SOUND, max_bytes=100 * 4096 * 4 - 1))


def test_a_process_that_is_ended_while_it_is_idle_costs_no_item(decoders: MediaDecoders) -> None:
    run(decoders.decode(PICTURE, IMAGE))
    os.kill(pid_of(decoders), signal.SIGKILL)
    assert_same(run(decoders.decode(PICTURE, IMAGE)), decode_item(PICTURE, IMAGE))


def test_a_process_that_something_else_kills_while_it_decodes_costs_no_item() -> None:
    async def killed(decoders: MediaDecoders) -> Item:
        await decoders.ready()
        first = pid_of(decoders)
        os.kill(first, signal.SIGSTOP)
        item = asyncio.create_task(decoders.decode(PICTURE, IMAGE))
        await asyncio.sleep(0.1)
        os.kill(first, signal.SIGKILL)
        return await item

    with opened() as (decoders, metrics):
        assert_same(run(killed(decoders)), decode_item(PICTURE, IMAGE))
        assert ended(metrics, "crash") == 1


def test_an_item_that_crashes_its_process_is_an_error_and_the_next_is_decoded() -> None:
    async def crashed(decoders: MediaDecoders) -> Item:
        await decoders.ready()
        first = pid_of(decoders)
        os.kill(first, signal.SIGSTOP)
        item = asyncio.create_task(decoders.decode(PICTURE, IMAGE))
        await asyncio.sleep(0.1)
        os.kill(first, signal.SIGSEGV)
        os.kill(first, signal.SIGCONT)
        with pytest.raises(MediaError, match=r"decoding the item ended its process \(SIGSEGV\): the file is damaged"):
            await item
        return await decoders.decode(PICTURE, IMAGE)

    with opened() as (decoders, metrics):
        assert_same(run(crashed(decoders)), decode_item(PICTURE, IMAGE))
        assert ended(metrics, "crash") == 1


def test_a_decoder_that_hangs_is_ended_and_the_next_item_is_decoded() -> None:
    async def hung(decoders: MediaDecoders) -> Item:
        await decoders.ready()
        os.kill(pid_of(decoders), signal.SIGSTOP)
        with pytest.raises(MediaError, match=r"takes more than 0\.5 s; send a smaller one"):
            await decoders.decode(PICTURE, IMAGE)
        return await decoders.decode(PICTURE, IMAGE)

    with opened(decode_timeout_s=0.5) as (decoders, metrics):
        assert_same(run(hung(decoders)), decode_item(PICTURE, IMAGE))
        assert ended(metrics, "time") == 1


def test_a_decoder_that_its_caller_has_left_is_free_again() -> None:
    """The limit of time is an hour: only leaving it can free the decoder that hangs."""

    async def left(decoders: MediaDecoders) -> Item:
        await decoders.ready()
        first = pid_of(decoders)
        os.kill(first, signal.SIGSTOP)
        hanging = asyncio.create_task(decoders.decode(PICTURE, IMAGE, timeout_s=0.05))
        waiting = [asyncio.create_task(decoders.decode(PICTURE, IMAGE)) for _ in range(3)]
        await asyncio.sleep(0.05)
        waiting[0].cancel()  # leaves the queue
        with pytest.raises(DeadlineExceeded):  # leaves it, too
            await decoders.decode(PICTURE, IMAGE, timeout_s=0.05)
        with pytest.raises(DeadlineExceeded):
            await hanging
        assert_same(await waiting[1], await waiting[2])
        assert not psutil.pid_exists(first)
        return await decoders.decode(PICTURE, IMAGE)

    with opened(decode_timeout_s=3600) as (decoders, metrics):
        assert_same(run(left(decoders)), decode_item(PICTURE, IMAGE))
        assert ended(metrics, "forsaken") == 1


def test_a_decoder_that_its_caller_has_left_may_finish_a_short_item() -> None:
    async def left(decoders: MediaDecoders) -> Item:
        await decoders.ready()
        pid = pid_of(decoders)
        for _ in range(20):
            forsaken = asyncio.create_task(decoders.decode(RECORDING, SOUND))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            forsaken.cancel()
        item = await decoders.decode(PICTURE, IMAGE)
        assert pid_of(decoders) == pid
        return item

    with opened() as (decoders, _):
        assert_same(run(left(decoders)), decode_item(PICTURE, IMAGE))


def test_an_item_that_needs_more_memory_than_allowed_is_refused() -> None:
    with opened(decoder_memory_mib=200) as (decoders, _):
        with pytest.raises(MediaError, match="takes more than 200 MiB of memory"):
            run(decoders.decode(BIG, IMAGE))
        assert_same(run(decoders.decode(PICTURE, IMAGE)), decode_item(PICTURE, IMAGE))
    with opened() as (decoders, _):
        assert run(decoders.decode(BIG, IMAGE)).rows.shape == (1, 32, 32, 3)


def test_sound_that_pyav_reads_is_decoded_within_the_same_limits(decoders: MediaDecoders) -> None:
    file = SoundFile(encoded("ipod", "aac", sound(1.5, channels=2)))
    assert_same(run(decoders.decode(file, SOUND)), decode_item(file, SOUND))
    long = SoundFile(encoded("mp4", "aac", np.zeros((60 * 48000, 1), np.float32)))
    with pytest.raises(MediaError, match=r"decodes to more than the 1\.0 MiB that are left for it"):
        run(decoders.decode(long, SOUND, max_bytes=2**20))
    cut = SoundFile(encoded("matroska", "flac", sound())[:-1000])
    with pytest.raises(MediaError, match="the file was cut off"):
        run(decoders.decode(cut, SOUND))


def test_no_process_is_left_after_the_end() -> None:
    with opened(decoders=3) as (decoders, _):
        run(decoders.decode(PICTURE, IMAGE))
        decoders.launch()
        pids = decoders.pids()
        assert len(pids) == 3
        # a process that was just started still has the name of its parent, until it has its own program
        assert eventually(lambda: {process.pid for process in decoders_of(os.getpid())} >= set(pids))
        os.kill(pids[0], signal.SIGSTOP)
    assert not any(map(psutil.pid_exists, pids))


def test_a_decoder_loads_neither_grpc_nor_an_engine() -> None:
    code = (
        "import sys, avizor_service.decoders.worker; "
        "print(*sorted({'grpc', 'google.protobuf', 'onnxruntime', 'onnx', 'torch', 'tritonclient'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == []
