"""Provide recordings for batch jobs, the results of an undisturbed run over them, and a Pushgateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from integration.jobs import Sink, batch, part_digests, pushgateway
from support.sounds import SAMPLE_RATE, tone, write_wav


@pytest.fixture(scope="session")
def many_recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 recordings: seven shards, some seconds of computation."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(400):
        write_wav(folder / "a" / f"{number:03d}.wav", tone(6 * 4096 / SAMPLE_RATE, seed=number))
    return folder


@pytest.fixture(scope="session")
def few_recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of one source."""
    folder = tmp_path_factory.mktemp("few")
    for number in range(3):
        write_wav(folder / "a" / f"{number}.wav", tone(1.0, seed=number))
    return folder


@pytest.fixture(scope="session")
def whole_run(many_recordings: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of what a run over `many_recordings` writes that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert batch(many_recordings, models, out).returncode == 0
    return part_digests(out)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with pushgateway() as sink:
        yield sink


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve recordings of the calibration's kind from `a` and `b`, one of another kind, one short, one stereo at 16 kHz."""
    folder = tmp_path / "data"
    for number in range(6):
        for source in ("a", "b"):
            write_wav(folder / source / f"{number}.wav", tone(3 * 4096 / SAMPLE_RATE, seed=100 + number))
    noise = 0.3 * np.random.default_rng(0).standard_normal(3 * 4096).astype(np.float32)
    write_wav(folder / "a" / "odd.wav", np.clip(noise, -1, 1))
    write_wav(folder / "short.wav", tone(0.1))
    stereo = tone(1.0)[:, None].repeat(2, axis=1)
    write_wav(folder / "b" / "stereo.wav", stereo, rate=16000)
    return folder
