"""A batch job over files that PyAV reads: rows as for the WAV files, dead letters, and what is said without PyAV."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from integration.jobs import batch, command, query
from support.av_files import encoded, sound
from support.mutations import damaged
from support.sounds import write_wav

TABLES = ("recordings", "dead_letters")
SOUNDS = [sound(1.1, channels=2, seed=number) for number in range(3)]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """The same sounds as WAV and in three containers, without loss."""
    containers = {"m4a": ("ipod", "alac"), "mkv": ("matroska", "flac"), "mov": ("mov", "pcm_s16le")}
    for number, (suffix, (container, codec)) in enumerate(containers.items()):
        write_wav(tmp_path / "wav" / "a" / f"{number}.wav", SOUNDS[number], 48000)
        path = tmp_path / "av" / "a" / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(container, codec, SOUNDS[number]))
    return tmp_path


def rows(out: Path) -> list[tuple[object, ...]]:
    name = "regexp_extract(uri, '/(\\d+)\\.', 1)"
    columns = f"{name}, model, channel, start_sample, label, probability, score, p_value, is_anomaly"
    return query(f"select {columns} from '{out}/windows/*.parquet' order by 1, 2, 3, 4")


def test_rows_are_those_of_the_wav_files_and_broken_files_are_dead_letters(media: Path, models: Path) -> None:
    wav = batch(media / "wav", models, media / "wav-out")
    assert wav.returncode == 0, wav.stderr
    whole = (media / "av" / "a" / "0.m4a").read_bytes()
    (media / "av" / "a" / "cut.m4a").write_bytes(whole[: len(whole) // 2])
    (media / "av" / "a" / "silent.mp4").write_bytes(encoded("mp4", "aac", has_video=True))
    (media / "av" / "a" / "gap.webm").write_bytes(encoded("matroska", "pcm_s16le", sound(2), skip=(30, 60)))
    (media / "av" / "a" / "noise.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + np.random.default_rng(0).bytes(5000))
    av = batch(media / "av", models, media / "av-out")
    assert av.returncode == 3, av.stderr
    assert rows(media / "av-out") == rows(media / "wav-out")
    letters = query(
        f"select regexp_extract(uri, '[^/]*$'), \"offset\", message from '{media}/av-out/dead_letters/*.parquet' order by 1"
    )
    assert [name for name, _, _ in letters] == ["cut.m4a", "gap.webm", "noise.mkv", "silent.mp4"]
    assert "cut.m4a: the file was cut off" in letters[0][2]
    assert letters[1][1] > 20000
    assert "jump by 0.6 s" in letters[1][2]
    assert "silent.mp4: the file has no sound" in letters[3][2]
    assert av.stderr.count("\n") < 20, av.stderr  # FFmpeg itself says nothing


@pytest.mark.slow
def test_without_pyav_they_are_left_out_with_the_remedy_and_a_named_one_says_the_same(media: Path, models: Path) -> None:
    (media / "without").mkdir()
    (media / "without" / "sitecustomize.py").write_text("import sys\nsys.modules['av'] = None\n")

    def run(data: Path, out: Path) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(media / "without"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run(
            command(data, models, out), capture_output=True, text=True, timeout=120, check=False, env=environment
        )

    (media / "av" / "a" / "3.wav").write_bytes((media / "wav" / "a" / "0.wav").read_bytes())
    remedy = "left out: 1 .m4a, 1 .mkv, 1 .mov; to read .m4a, .mkv, .mov: pip install 'avizor[av]'"
    folder = run(media / "av", media / "out")
    assert folder.returncode == 0, folder.stderr
    assert folder.stdout.count(remedy) == 2  # header and summary
    named = run(media / "av" / "a" / "0.m4a", media / "out2")
    assert named.returncode == 3, named.stderr
    ((message,),) = query(f"select message from '{media}/out2/dead_letters/*.parquet'")
    assert "without PyAV (it is MP4 or QuickTime): pip install 'avizor[av]'" in message


@pytest.mark.slow
def test_damaged_files_of_every_kind_cost_themselves_alone(media: Path, models: Path) -> None:
    clean = batch(media / "av", models, media / "clean")
    assert clean.returncode == 0, clean.stderr
    files = [path.read_bytes() for path in sorted((media / "av" / "a").iterdir())]
    files += [encoded("mp4", "aac", sound(0.5)), encoded("webm", "libopus", sound(0.5)), encoded("adts", "aac", sound(0.5))]
    rng = random.Random(0)
    for number in range(200):
        (media / "av" / "b").mkdir(exist_ok=True)
        (media / "av" / "b" / f"{number}.mp4").write_bytes(damaged(files[number % len(files)], rng))
    result = batch(media / "av", models, media / "out")
    assert result.returncode == 3, result.stderr
    of_a = "select * from '{}/windows/*.parquet' where uri like '%/a/%' order by uri, model, channel, start_sample"
    assert query(of_a.format(media / "out")) == query(of_a.format(media / "clean"))
    ((done,), (dead,)) = (query(f"select count(distinct uri) from '{media}/out/{table}/*.parquet'")[0] for table in TABLES)
    assert done + dead == 203
    assert dead > 50
