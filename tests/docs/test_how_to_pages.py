"""docs/how-to/: the commands of each page run as they are, in order, in a folder with the model and the files that it names."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from support.environment import ROOT
from support.labelled_folders import write_pictures, write_sounds
from support.networks import PaddedAutoencoder
from support.normal_folders import write_images, write_rows, write_signals
from support.normal_folders import write_sounds as write_machine_sounds
from support.object_stores import s3_server
from support.ray_nodes import ray_nodes
from support.shown_commands import LEFT_OUT, run_shown
from support.sounds import SAMPLE_RATE, SOUND, tone, write_wav

from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.data.recording import NormalRecording

PAGES = ROOT / "docs" / "how-to"
SECONDS = 1.6  # of a recording: four windows


def text(page: str) -> str:
    return (PAGES / f"{page}.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def fan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the model of all pages: `fan`, calibrated with 40 recordings each of two fans."""
    folder = tmp_path_factory.mktemp("fan") / "models"
    torch.manual_seed(0)
    normal = [
        NormalRecording(source, tone(3 * 4096 / SAMPLE_RATE, seed=seed).reshape(3, 4096))
        for source in ("fan-1", "fan-2")
        for seed in range(40)
    ]
    export_model(PaddedAutoencoder(), ExportRequest("fan", "reconstruct", SOUND, normal=normal), folder)
    return folder


@pytest.fixture
def folder(fan: Path, tmp_path: Path) -> Path:
    """The model, and `sounds/`: five recordings of one fan, seven of another and an odd one, 0007."""
    shutil.copytree(fan, tmp_path / "models")
    for source, count in (("fan-1", 5), ("fan-2", 7)):
        for number in range(count):
            write_wav(tmp_path / "sounds" / source / f"{number:04d}.wav", tone(SECONDS, seed=100 + number))
    write_wav(tmp_path / "sounds" / "fan-2" / "0007.wav", noise(SECONDS))
    return tmp_path


def noise(seconds: float) -> np.ndarray:
    """What a fan does not sound like."""
    return (0.3 * np.random.default_rng(7).standard_normal(round(seconds * SAMPLE_RATE))).clip(-1, 1).astype(np.float32)


def test_a_first_job(folder: Path) -> None:
    whole = write_wav(folder / "backup" / "0005.wav", tone(SECONDS, seed=105))
    (folder / "sounds" / "fan-1" / "0005.wav").write_bytes(whole.read_bytes()[:9000])
    run_shown(text("first-job"), folder, cold=True)  # as users start them


def test_fit_a_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "normal.csv", 400)
    with write_rows(tmp_path / "new.csv", 20, seed=1).open("a", encoding="utf-8") as file:
        file.write("9999,30.00,1.00,ES\n")
    write_rows(tmp_path / "later.csv", 200, seed=2)
    run_shown(text("fit-table"), tmp_path)


@pytest.mark.slow
def test_fit_sound(tmp_path: Path) -> None:
    write_machine_sounds(tmp_path / "recordings", 60, sources=("fan-1", "fan-2"), seconds=1)
    write_machine_sounds(tmp_path / "new", 5, sources=("fan-1", "fan-2"), seconds=1)
    write_wav(tmp_path / "new" / "fan-2" / "odd.wav", noise(1), 8000)
    run_shown(text("fit-sound"), tmp_path, timeout_s=900)


@pytest.mark.slow
def test_fit_images(tmp_path: Path) -> None:
    write_images(tmp_path / "good", 40)
    write_images(tmp_path / "new", 5)
    odd = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.uint8)
    Image.fromarray(odd).save(tmp_path / "new" / "odd.png")
    run_shown(text("fit-images"), tmp_path, timeout_s=900)


@pytest.mark.slow
def test_fit_signals(tmp_path: Path) -> None:
    write_signals(tmp_path / "signals", 100)
    write_signals(tmp_path / "new", 5)
    np.save(tmp_path / "new" / "odd.npy", np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32))
    run_shown(text("fit-signals"), tmp_path, timeout_s=900)


def test_a_growing_folder(folder: Path) -> None:
    for number in (8, 9):
        write_wav(folder / "inbox" / f"{number:04d}.wav", tone(SECONDS, seed=number))
    run_shown(text("growing-folder"), folder)


def test_live(folder: Path) -> None:
    for number in (8, 9):
        write_wav(folder / "inbox" / f"{number:04d}.wav", tone(SECONDS, seed=number))
    for path in (folder / "sounds").rglob("*.wav"):  # not just written, or the first look would leave it for the next one
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)
    run_shown(text("live"), folder)


@pytest.fixture
def store(folder: Path) -> Iterator[Mapping[str, str]]:
    """The environment of a server of S3 with the recordings, and none on the disk."""
    with s3_server() as server:
        server.put_folder(folder / "sounds", "2026")
        shutil.rmtree(folder / "sounds")
        yield {"AWS_ENDPOINT_URL": server.address}


def test_an_object_store(folder: Path, store: Mapping[str, str]) -> None:
    run_shown(text("object-store"), folder, store)


def test_shared_models(folder: Path, store: Mapping[str, str]) -> None:
    run_shown(text("share-models"), folder, store)


@pytest.mark.slow
def test_a_cluster(folder: Path, store: Mapping[str, str]) -> None:
    """A cluster of two nodes stands for the machines that the page starts: they have the store's variables, too."""
    exported = dict(re.findall(r"(AWS_\w+)=(\S+)", text("cluster")))
    with ray_nodes(1, 1, env={**store, **exported}) as cluster:
        left_out = re.compile(f"{LEFT_OUT.pattern}|ray start ")
        run_shown(text("cluster"), folder, {**store, "RAY_ADDRESS": cluster.address}, left_out=left_out)


def test_long_recordings(folder: Path) -> None:
    recording = np.concatenate([tone(20, seed=1), noise(5), tone(15, seed=2)])
    (folder / "nights" / "fan-1").mkdir(parents=True)
    path = folder / "nights" / "fan-1" / "2026-07-01.wav"
    soundfile.write(path, recording, SAMPLE_RATE, subtype="DOUBLE")  # 8 bytes a sample: three sections
    run_shown(text("long-recordings"), folder)


def test_a_classifier(tmp_path: Path) -> None:
    write_pictures(tmp_path / "parts", {"bars": 60, "plain": 12, "stripes": 60})
    write_pictures(tmp_path / "new", {"bars": 4, "plain": 4, "stripes": 4}, seed=1)
    write_pictures(tmp_path / "more", {"bars": 40, "plain": 40, "stripes": 40}, seed=2, contrast=-0.4)
    for path in write_sounds(tmp_path / "by-class", 12, classes={"0": 300, "1": 700, "7": 1300}).rglob("*.wav"):
        (tmp_path / "spoken").mkdir(exist_ok=True)
        path.rename(tmp_path / "spoken" / f"{path.parent.name}_theo_{path.stem}.wav")
    run_shown(text("classifier"), tmp_path)


def test_what_pages_install_is_there_to_install() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        name
        for page in PAGES.glob("*.md")
        for each in re.findall(r"pip install '\.\[(.*?)\]'", page.read_text())
        for name in each.split(",")
    }
    assert named <= set(extras)
    assert "object-stores" in named


def test_each_page_is_run() -> None:
    tests = Path(__file__).read_text() + (ROOT / "tests" / "stack" / "test_batch.py").read_text()
    assert [page.stem for page in PAGES.glob("*.md") if f'text("{page.stem}")' not in tests] == []
