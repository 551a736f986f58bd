"""`avizor batch --memory`: the sum of the memory of all processes stays below the ceiling, whatever the files are."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
import soundfile
import torch
from integration.jobs import AVIZOR, part_digests
from PIL import Image
from support.peaks import Watched, watched
from support.sounds import SAMPLE_RATE, tone, write_wav

from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import ImageInput

MIB = 2**20


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pictures`: an autoencoder whose batches of 32 rows need some hundred MiB."""
    folder = tmp_path_factory.mktemp("large") / "models"
    torch.manual_seed(0)
    network = build_autoencoder("conv16s2 conv16s2 latent8", (1, 256, 256))
    image = ImageInput(height=256, width=256, channels=1)
    export_model(network, ExportRequest("pictures", "reconstruct", image, serving={"max_batch_size": 32}), folder)
    return folder


def pictures(folder: Path, count: int, side: int) -> Path:
    """The same picture under many names."""
    folder.mkdir()
    small = np.random.default_rng(0).integers(0, 256, (side // 100, side // 100, 3), dtype=np.uint8)
    Image.fromarray(np.kron(small, np.ones((100, 100, 1), np.uint8))).save(folder / "000.png")
    for number in range(1, count):
        os.link(folder / "000.png", folder / f"{number:03d}.png")
    return folder


def job(data: Path, models: Path, out: Path, model: str, *options: str) -> Watched:
    arguments = [AVIZOR, "batch", data, "--models", models, "--model", model, "--out", out, "--workers", "2", "--alpha", "0.05"]
    return watched([*map(str, arguments), *options])


def under(ceiling: int, data: Path, models: Path, out: Path, model: str, *options: str) -> Watched:
    """Run a job under a ceiling in MiB, all of whose files are read."""
    done = job(data, models, out, model, "--memory", f"{ceiling}MiB", *options)
    assert done.returncode == 0, done.stderr
    assert done.peak < ceiling * MIB, (done.peak / MIB, done.stdout)
    return done


def table(out: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(out / name).to_table().to_pylist()
    return rows


@pytest.mark.slow
def test_a_ceiling_that_two_workers_would_exceed_is_kept_with_smaller_batches(large: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 400, 300)
    free = job(data, large, tmp_path / "free", "pictures")
    assert free.returncode == 0, free.stderr
    refused = job(data, large, tmp_path / "refused", "pictures", "--memory", "100MiB")
    assert refused.returncode == 1
    assert not (tmp_path / "refused").exists()
    (least,) = re.findall(r"give at least (\d+)MiB", refused.stderr)
    ceiling = int(least) + 64
    assert ceiling * MIB < free.peak  # or it shows nothing
    done = under(ceiling, data, large, tmp_path / "out", "pictures")
    (rows,) = re.findall(r"rows in a batch: pictures (\d+)", done.stdout)
    assert int(rows) < 32
    assert len(table(tmp_path / "out", "recordings")) == 400
    # It goes on with the same batches, however much there is now.
    digests = part_digests(tmp_path / "out")
    next((tmp_path / "out" / "commits").iterdir()).unlink()
    again = under(4000, data, large, tmp_path / "out", "pictures")
    assert f"rows in a batch: pictures {rows}" in again.stdout
    assert part_digests(tmp_path / "out") == digests


def test_a_ceiling_that_is_said_to_be_enough_is(models: Path, tmp_path: Path) -> None:
    for number in range(40):
        write_wav(tmp_path / "data" / f"{number:03d}.wav", tone(0.6, seed=number))
    refused = job(tmp_path / "data", models, tmp_path / "out", "normal", "--memory", "100MiB")
    (least,) = re.findall(r"give at least (\d+)MiB", refused.stderr)
    under(int(least) + 16, tmp_path / "data", models, tmp_path / "out", "normal")


@pytest.mark.slow
def test_a_ceiling_is_kept_for_small_files_with_embeddings(models: Path, tmp_path: Path) -> None:
    for number in range(600):
        write_wav(tmp_path / "data" / f"{number:03d}.wav", tone(0.6, seed=number))
    under(560, tmp_path / "data", models, tmp_path / "out", "kinds", "--embeddings", "--top-k", "3")


@pytest.mark.slow
def test_a_ceiling_is_kept_for_one_long_file(models: Path, tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "long.wav", "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for minute in range(120):
            file.write(tone(60.0, seed=minute))
    under(560, tmp_path / "long.wav", models, tmp_path / "out", "normal", "--embeddings")


@pytest.mark.slow
def test_a_ceiling_is_kept_for_large_pictures(models: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 12, 6000)  # each takes 144 MB when it is decoded
    done = under(640, data, models, tmp_path / "out", "digits")
    assert "1 worker of" in done.stdout


@pytest.mark.slow
def test_a_picture_that_needs_more_than_there_is_costs_itself(models: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 8, 300)
    Image.new("RGB", (7900, 7900)).save(data / "huge.png")  # 250 MB
    done = job(data, models, tmp_path / "out", "digits", "--memory", "400MiB")
    assert done.returncode == 3, done.stderr
    assert done.peak < 400 * MIB
    assert re.search("may be dead letters for lack of memory.*huge.png", done.stdout)
    (letter,) = table(tmp_path / "out", "dead_letters")
    assert letter["uri"].endswith("huge.png")
    assert "was ended by its lack of memory (--memory leaves" in letter["message"]
    assert len(table(tmp_path / "out", "recordings")) == 8
