"""A batch job over a realistic folder: files of every kind, wrong headers, odd names. A bad file affects only itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from integration.jobs import AVIZOR, batch, query
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.warm_starts import warm_run

from avizor_inference.items.containers.detect import AUDIO_SUFFIXES
from avizor_inference.items.file_access import path_of

SECONDS = 3 * 4096 / SAMPLE_RATE


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two good recordings."""
    for number in range(2):
        write_wav(tmp_path / "data" / "a" / f"{number}.wav", tone(SECONDS, seed=number))
    return tmp_path / "data"


def dead_letters(out: Path) -> dict[str, str]:
    rows = query(f"select uri, message from '{out}/dead_letters/*.parquet'")
    return {Path(uri).name: message for uri, message in rows}


def heard(out: Path) -> dict[str, int]:
    """Windows of each recording, as the classifier heard it."""
    rows = query(f"select uri, windows from '{out}/recordings/*.parquet' where model = 'kinds'")
    return {Path(uri).name: windows for uri, windows in rows}


def test_each_bad_file_is_a_dead_letter_and_the_others_are_done(data: Path, models: Path, tmp_path: Path) -> None:
    folder = data / "a"
    (folder / "dangling.wav").symlink_to("/nonexistent/x.wav")
    os.mkfifo(folder / "pipe.wav")
    soundfile.write(folder / "tiny.wav", np.full(1, 0.1), 48000)
    soundfile.write(folder / "slow.wav", np.zeros(4000), 1, subtype="PCM_U8")
    soundfile.write(folder / "wide.wav", np.zeros((2, 1024)), 8000)
    whole = (folder / "0.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    result = batch(data, models, out, "--workers", "1")
    assert result.returncode == 3, result.stderr
    assert "6 files could not be read" in result.stdout
    assert heard(out) == {"0.wav": 3, "1.wav": 3}
    reasons = {
        "cut.wav": "the file was cut off",
        "dangling.wav": "a link that leads to no file",
        "pipe.wav": "not a file but a pipe",
        "slow.wav": "the header says 1 Hz",
        "tiny.wav": "less than one at the model's 8000 Hz",
        "wide.wav": "1024 channels",
    }
    found = dead_letters(out)
    assert found.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in found[name]


def test_a_bad_file_that_a_shell_names_costs_itself_as_in_its_folder(data: Path, models: Path, tmp_path: Path) -> None:
    (data / "b").mkdir()
    (data / "b" / "dangling.wav").symlink_to("/nonexistent/x.wav")
    os.mkfifo(data / "b" / "pipe.wav")
    (data / "b" / "bad.wav").write_bytes(b"no sound")
    first, *others = sorted(data.glob("*/*.wav"))
    results = [
        batch(data, models, tmp_path / "folder", "--workers", "1"),
        batch(first, models, tmp_path / "names", "--workers", "1", *map(str, others)),
    ]
    assert [result.returncode for result in results] == [3, 3], [result.stderr for result in results]
    letters = "select uri, source, message from '{}/dead_letters/*.parquet' order by uri"
    assert query(letters.format(tmp_path / "names")) == query(letters.format(tmp_path / "folder"))
    assert set(dead_letters(tmp_path / "names")) == {"bad.wav", "dangling.wav", "pipe.wav"}
    assert heard(tmp_path / "names") == heard(tmp_path / "folder") == {"0.wav": 3, "1.wav": 3}
    (data / "b" / "dangling.wav").unlink()
    shutil.copy(first, data / "b" / "dangling.wav")
    for out in ("names", "folder"):
        assert warm_run([str(AVIZOR), "retry", str(tmp_path / out), "--workers", "1"]).returncode == 3
    assert heard(tmp_path / "names") == heard(tmp_path / "folder") == {"0.wav": 3, "1.wav": 3, "dangling.wav": 3}


def test_names_that_are_not_utf_8_are_done_and_can_be_turned_back(data: Path, models: Path, tmp_path: Path) -> None:
    odd = data / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff.wav")
    odd.parent.mkdir()
    shutil.copy(data / "a" / "0.wav", odd)
    (data / "a" / "0.wav").rename(data / "a" / "new\nline.wav")
    out = tmp_path / "out"
    result = batch(data, models, out, "--workers", "1")
    assert result.returncode == 0, result.stderr
    rows = query(f"select uri, source from '{out}/recordings/*.parquet' where model = 'normal' and uri like 'bytes:%'")
    ((uri, source),) = rows
    assert path_of(uri) == odd
    assert source == "bytes:caf%E9"
    assert "bytes:caf%E9 " in result.stdout
    again = batch(data, models, out, "--workers", "1")
    assert again.returncode == 0, again.stderr


def test_a_root_whose_name_is_not_utf_8(data: Path, models: Path, tmp_path: Path) -> None:
    root = data.rename(tmp_path / os.fsdecode(b"karte\xdf"))
    result = batch(root, models, tmp_path / "out", "--workers", "1")
    assert result.returncode == 0, result.stderr
    assert "2 files" in result.stdout


def test_everything_that_can_be_decoded_is_read_and_the_rest_counted_by_suffix(
    data: Path, models: Path, tmp_path: Path
) -> None:
    kinds = {".caf": "CAF", ".w64": "W64", ".aifc": "AIFF", ".wave": "WAV", ".oga": "OGG", ".snd": "AU", ".rf64": "RF64"}
    for suffix, kind in kinds.items():
        assert suffix in AUDIO_SUFFIXES
        soundfile.write(data / "a" / f"x{suffix}", tone(SECONDS), SAMPLE_RATE, format=kind)
    for name in ("y.voc", "z.VOC", "notes", ".hidden.wav", "w.mid"):
        (data / "a" / name).write_bytes(b"\0\0\0 ftypM4A ")
    (data / ".Trash-0").mkdir()
    left_out = "left out: 2 .voc, 2 hidden, 1 .mid, 1 without suffix"
    dry = batch(data, models, tmp_path / "out", "--dry-run")
    assert left_out in dry.stdout
    result = batch(data, models, tmp_path / "out", "--workers", "1")
    assert result.returncode == 0, result.stderr
    assert left_out in result.stdout
    assert heard(tmp_path / "out") == {"0.wav": 3, "1.wav": 3} | {f"x{suffix}": 3 for suffix in kinds}


def test_a_folder_of_nothing_that_is_read_says_what_there_is(models: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.voc").touch()
    result = batch(tmp_path / "data", models, tmp_path / "out")
    assert result.returncode == 1
    assert "no audio files in" in result.stderr
    assert "left out: 1 .voc" in result.stderr


def test_a_file_that_is_named_is_read_whatever_its_suffix(data: Path, models: Path, tmp_path: Path) -> None:
    path = (data / "a" / "0.wav").rename(tmp_path / "recording.dat")
    result = batch(path, models, tmp_path / "out", "--workers", "1")
    assert result.returncode == 0, result.stderr
    assert heard(tmp_path / "out") == {"recording.dat": 3}


def test_samples_beyond_full_scale_are_told_and_counted(data: Path, models: Path, tmp_path: Path) -> None:
    loud = tone(SECONDS, seed=7) * 8
    soundfile.write(data / "a" / "loud.wav", loud, SAMPLE_RATE, subtype="FLOAT")
    dry = batch(data, models, tmp_path / "out", "--dry-run")
    result = batch(data, models, tmp_path / "out", "--workers", "1")
    peak = np.abs(loud).max()
    said = f"1 file holds samples beyond full scale, up to {peak:.3g}: clipped to -1..1"
    assert f"of what was run, {said}" in dry.stdout
    assert said in result.stdout
    assert "beyond" not in result.stderr  # the summary was next
    rows = query(f"select uri, peak, clipped from '{tmp_path}/out/recordings/*.parquet' where model = 'normal' order by uri")
    assert [Path(uri).name for uri, *_ in rows] == ["0.wav", "1.wav", "loud.wav"]
    assert [clipped for _, _, clipped in rows] == [0, 0, np.mean(np.abs(loud) > 1)]
    assert rows[2][1] == pytest.approx(peak)
    assert 0.3 < rows[0][1] < 0.5


def test_what_surprises_is_said_when_it_is_met_and_what_does_not_is_not_said(data: Path, models: Path, tmp_path: Path) -> None:
    quiet = [batch(data, models, tmp_path / "out", "--workers", "1", *more) for more in (["--dry-run"], [])]
    for word in ("channels", "clipped", "filled", "sample rate"):
        assert [word in run.stdout + run.stderr for run in quiet] == [False, False], word
    write_wav(data / "0" / "stereo.wav", np.stack([tone(SECONDS), tone(SECONDS)], axis=1))
    for number in range(64):  # so that there are two shards
        write_wav(data / "b" / f"{number}.wav", tone(0.1))
    result = batch(data, models, tmp_path / "other", "--workers", "1")
    assert result.returncode == 0, result.stderr
    early = "avizor batch: so far 1 file has several channels: each was taken by itself (column channel)"
    assert result.stderr.splitlines().count(early) == 1
    assert "1 file has several channels: each was taken by itself" in result.stdout
    assert "64 files are shorter than a model's window: filled up with zeros" in result.stdout
    for number in range(70):  # so that what is said first is not of the last shard
        write_wav(data / "c" / f"{number}.wav", tone(SECONDS))
    again = batch(data, models, tmp_path / "other", "--workers", "1")
    assert again.returncode == 0, again.stderr
    assert "so far" not in again.stderr  # earlier runs have said it
    assert "1 file has several channels: each was taken by itself" in again.stdout


def test_a_resumed_job_counts_what_was_clipped_before(data: Path, models: Path, tmp_path: Path) -> None:
    soundfile.write(data / "a" / "loud.wav", tone(SECONDS) * 8, SAMPLE_RATE, subtype="FLOAT")
    first = batch(data, models, tmp_path / "out", "--workers", "1")
    again = batch(data, models, tmp_path / "out", "--workers", "1")
    (line,) = (each for each in first.stdout.splitlines() if "full scale" in each)
    assert line in again.stdout
