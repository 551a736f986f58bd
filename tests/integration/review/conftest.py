"""Provide the results of a job over sounds, some of them odd, and a page on which they are reviewed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from integration.jobs import batch
from support.review_page import Page, review_page
from support.sounds import tone, write_wav

# A file that a hostile user has named, so that a page which does not escape it runs a script.
HOSTILE = "<img src=x onerror=document.title='hacked'>.wav"


@pytest.fixture(scope="session")
def reviewed_job(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a job over 12 normal recordings of `a` and `b`, and 4 of `a` with one odd window, one of them by HOSTILE."""
    folder = tmp_path_factory.mktemp("review")
    for number in range(6):
        for source in ("a", "b"):
            write_wav(folder / "data" / source / f"2026-01-0{number + 1}T120000.wav", tone(6 * 4096 / 8000, seed=number))
    rng = np.random.default_rng(0)
    for number, name in enumerate(("odd1.wav", "odd2.wav", "odd3.wav", HOSTILE)):
        samples = tone(6 * 4096 / 8000, seed=500 + number)
        samples[8192:12288] += (0.2 + 0.05 * number) * rng.standard_normal(4096).astype(np.float32)
        write_wav(folder / "data" / "a" / name, np.clip(samples, -1, 1))
    done = batch(folder / "data", models, folder / "results", "--embeddings")
    assert done.returncode == 0, done.stderr
    return folder / "results"


@pytest.fixture
def results(reviewed_job: Path) -> Iterator[Path]:
    """Those results, without answers."""
    (reviewed_job / "answers.jsonl").unlink(missing_ok=True)
    yield reviewed_job
    (reviewed_job / "answers.jsonl").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def page(reviewed_job: Path) -> Iterator[Page]:
    """A page over the results, which every test of a module uses."""
    with review_page(reviewed_job) as running:
        yield running
    shutil.rmtree(reviewed_job / "raven", ignore_errors=True)
