"""--reconstructions: pictures and sounds that autoencoders make of the items, exactly once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from integration.jobs import AVIZOR, query, start, wait_for_first_shard
from PIL import Image
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.warm_starts import warm_run

from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.input_spec import AudioInput, ImageInput
from avizor_inference.items.kinds.sound_front_ends import WaveformFrontEnd

WINDOW, HOP = 4096, 3072


class Half(torch.nn.Module):
    """Returns half of what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features * self.factor


class Twice(torch.nn.Module):
    """Returns a picture twice as high and wide."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(features * self.scale, scale_factor=2, mode="nearest")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reconstructing") / "models"
    sound = AudioInput(sample_rate=SAMPLE_RATE, window_samples=WINDOW, hop_samples=HOP, front_end=WaveformFrontEnd())
    export_model(Half(), ExportRequest("half", "reconstruct", sound), folder)
    export_model(Twice(), ExportRequest("twice", "reconstruct", ImageInput(height=16, width=24, channels=3)), folder)
    return folder


def command(data: Path, repository: Path, out: Path, *more: str) -> list[str]:
    models = ("--model", "half", "--model", "twice")
    folder = ("--reconstructions", out.with_name("shown"), "--workers", "2")
    return [*map(str, (AVIZOR, "batch", data, "--models", repository, *models, "--out", out, *folder, *more))]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return warm_run(arguments)


def shown(out: Path) -> dict[str, Path]:
    rows = query(f"select uri, reconstruction from '{out}/recordings/*.parquet' where reconstruction is not null")
    return {Path(uri).name: out.with_name("shown") / path for uri, path in rows}


def test_pictures_and_sounds_are_those_of_the_model(repository: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    stereo = np.stack([tone(2.0, seed=1), tone(2.0, seed=2)], axis=1)
    write_wav(data / "a" / "x.wav", stereo)
    write_wav(data / "b" / "x.wav", tone(2.3, seed=3))  # the same name in another folder
    write_wav(data / "short.wav", tone(0.1, seed=4))
    (data / "broken.wav").write_bytes(b"RIFF but not for long")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    Image.fromarray(pixels).save(data / "picture.png")
    done = run(command(data, repository, tmp_path / "out"))
    assert done.returncode == 3, done.stderr
    files = shown(tmp_path / "out")
    assert files.keys() == {"x.wav", "short.wav", "picture.png"}
    assert len({path for path in (tmp_path / "shown").rglob("*") if path.is_file()}) == 4
    rows = query(f"select uri, reconstruction from '{tmp_path}/out/recordings/*.parquet' where reconstruction like '%.wav'")
    assert len(rows) == 3
    for uri, name in rows:
        original, _ = soundfile.read(uri, dtype="float32", always_2d=True)
        half, rate = soundfile.read(tmp_path / "shown" / name, dtype="float32", always_2d=True)
        assert (rate, half.shape) == (SAMPLE_RATE, original.shape)
        np.testing.assert_allclose(half, original / 2, atol=1.1 / 32768)
    large = np.asarray(Image.open(files["picture.png"]))
    np.testing.assert_array_equal(large, pixels.repeat(2, axis=0).repeat(2, axis=1))

    (data / "short.wav").write_bytes(b"RIFF and no sound any more")
    redone = run(command(data, repository, tmp_path / "out", "--changed", "redo"))
    assert redone.returncode == 3, redone.stderr
    assert shown(tmp_path / "out").keys() == {"x.wav", "picture.png"}
    assert len({path for path in (tmp_path / "shown").rglob("*") if path.is_file()}) == 3

    again = run(command(data, repository, tmp_path / "other"))
    assert again.returncode == 1
    assert "shown is not empty; choose another folder, one for each job" in again.stderr
    inside = run(command(data, repository, data / "out"))
    assert inside.returncode == 1
    assert "the next run would read its results" in inside.stderr
    dry = run(command(data, repository, tmp_path / "dry" / "out", "--dry-run"))
    assert dry.returncode == 0, dry.stderr
    assert not (tmp_path / "dry").exists()


@pytest.mark.slow
def test_of_a_chosen_channel_the_file_has_that_channel_alone(repository: Path, tmp_path: Path) -> None:
    stereo = np.stack([tone(2.0, seed=1), tone(2.0, seed=2)], axis=1)
    write_wav(tmp_path / "data" / "a" / "x.wav", stereo)
    result = run(command(tmp_path / "data", repository, tmp_path / "out", "--channels", "1"))
    assert result.returncode == 0, result.stderr
    samples, _ = soundfile.read(shown(tmp_path / "out")["x.wav"], always_2d=True)
    np.testing.assert_allclose(samples[:, 0], stereo[:, 1] / 2, atol=2 / 32768)
    assert samples.shape == (len(stereo), 1)


@pytest.mark.slow
def test_a_job_that_was_killed_and_resumed_has_each_file_once(repository: Path, many_recordings: Path, tmp_path: Path) -> None:
    arguments = command(many_recordings, repository, tmp_path / "out")
    process = start(*arguments)
    wait_for_first_shard(tmp_path / "out", process)
    process.kill()
    process.communicate()
    done = run(arguments)
    assert done.returncode == 0, done.stderr
    files = shown(tmp_path / "out")
    assert len(files) == 400
    assert set(files.values()) == {path for path in (tmp_path / "shown").rglob("*") if path.is_file()}
    for number in (0, 200, 399):
        original, _ = soundfile.read(many_recordings / "a" / f"{number:03d}.wav", dtype="float32")
        half, _ = soundfile.read(files[f"{number:03d}.wav"], dtype="float32")
        np.testing.assert_allclose(half, original / 2, atol=1.1 / 32768)


@pytest.mark.slow
def test_a_job_without_pictures_and_sounds_says_so(models: Path, few_recordings: Path, tmp_path: Path) -> None:
    options = ("--models", models, "--model", "normal", "--out", tmp_path / "out", "--reconstructions", tmp_path / "shown")
    done = run([*map(str, (AVIZOR, "batch", few_recordings, *options))])
    assert done.returncode == 1
    assert "--reconstructions: no output of normal is a picture or a sound" in done.stderr
