"""`--channels`: what of a stereo sound is judged, in which column it is told, and which calibration may judge it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from integration.jobs import batch, query
from support.sounds import tone, write_wav

from avizor_inference.calibrate_cli import calibrate
from avizor_inference.repository.models import ModelRepository

LEFT, RIGHT = tone(1.1, seed=1), tone(1.1, seed=2) / 2


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """A stereo sound; and its channels, and their mean, as mono ones."""
    write_wav(tmp_path / "stereo" / "a" / "x.wav", np.stack([LEFT, RIGHT], axis=1))
    samples, rate = soundfile.read(tmp_path / "stereo" / "a" / "x.wav", dtype="float32")
    for name, values in {"0": samples[:, 0], "1": samples[:, 1], "mix": samples.mean(axis=1)}.items():
        (tmp_path / name / "a").mkdir(parents=True)
        soundfile.write(tmp_path / name / "a" / "x.wav", values, rate, subtype="FLOAT")
    return tmp_path


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Path:
    """A repository to change: both models of a job."""
    for name in ("normal", "kinds"):
        shutil.copytree(models / name, tmp_path / "models" / name)
    return tmp_path / "models"


def rows(out: Path, columns: str = "model, start_sample, score, p_value, probability") -> list[tuple[object, ...]]:
    return query(f"select {columns} from '{out}/windows/*.parquet' order by model, start_sample, channel")


def scored(*words: object) -> Result:
    return CliRunner().invoke(calibrate, [str(word) for word in words])


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "channel"), [("mix", 0), ("0", 0), ("1", 1)])
def test_what_is_taken_has_the_rows_of_a_mono_file_of_it(stereo: Path, own: Path, mode: str, channel: int) -> None:
    calibrated = scored("normal", "--models", own, "--data", _normal(stereo), "--channels", mode, "--activate")
    assert calibrated.exit_code == 0, calibrated.output
    result = batch(stereo / "stereo", own, stereo / "out", "--channels", mode)
    assert result.returncode == 0, result.stderr
    said = "the mean was taken" if mode == "mix" else f"channel {mode} alone was taken"
    assert f"1 file has several channels: {said}" in result.stdout
    assert (result.stdout + result.stderr).count(said) == 1
    alone = batch(stereo / mode, own, stereo / "mono-out", "--channels", "mix" if mode == "mix" else "0")
    if mode == "1":  # a calibration of channel 1 judges no channel 0
        assert "was made with --channels 1, and its scores are not those of --channels 0" in alone.stderr
        alone = batch(stereo / mode, own, stereo / "mono-out", "--channels", "1")
        assert "the recording has 1 channel, and channel 1, counted from 0, is to be taken" in _letter(stereo / "mono-out")
    else:
        assert alone.returncode == 0, alone.stderr
        assert rows(stereo / "out") == rows(stereo / "mono-out")
    assert {number for (number,) in rows(stereo / "out", "channel")} == {channel}


def test_a_job_of_other_channels_than_the_calibrations_is_refused_with_what_to_do(stereo: Path, own: Path) -> None:
    refused = batch(stereo / "stereo", own, stereo / "out", "--channels", "mix")
    assert refused.returncode == 1
    assert "was made with --channels each, and its scores are not those of --channels mix" in refused.stderr
    assert "--activate --channels mix" in refused.stderr
    assert not (stereo / "out").exists()
    result = scored("normal", "--models", own, "--data", _normal(stereo), "--channels", "mix", "--activate")
    assert "channels mixed" in result.output
    (calibration,) = ModelRepository(own).version("normal").calibrations()
    assert calibration.channels == "mix"
    assert "use --channels mix" in batch(stereo / "stereo", own, stereo / "out").stderr


def test_channels_are_about_sound(stereo: Path, models: Path) -> None:
    wrong = scored("transfers", "--models", models, "--data", stereo / "x.csv", "--channels", "mix")
    assert "is about sound" in wrong.output + str(wrong.exception)
    assert "give each, mix, or the number of a channel" in batch(stereo, models, stereo / "out", "--channels", "left").stderr


def _letter(out: Path) -> str:
    ((message,),) = query(f"select message from '{out}/dead_letters/*.parquet'")
    return str(message)


def _normal(folder: Path) -> Path:
    """Thirty normal recordings, in stereo."""
    for number in range(30):
        sound = np.stack([tone(1.1, seed=100 + number), tone(1.1, seed=200 + number) / 2], axis=1)
        write_wav(folder / "normal" / "a" / f"{number}.wav", sound)
    return folder / "normal"
