"""What a job reads: patterns, lists, standard input, and the first few of it."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from integration.jobs import AVIZOR, batch, command, query
from support.packed import write_column, write_tar
from support.warm_starts import warm_run

from avizor_inference.items.images import encode_png


def read(out: Path) -> list[str]:
    return [Path(uri).name for (uri,) in query(f"select distinct uri from '{out}/recordings/*.parquet' order by uri")]


def test_a_list_from_standard_input_says_what_is_new(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = command(Path("-"), models, out)

    def run(names: str, *more: str) -> subprocess.CompletedProcess[str]:
        text = "".join(f"{few_recordings}/a/{name}.wav\n" for name in names)
        return warm_run([*arguments, *more], input=text)

    dry = run("012", "--dry-run")
    assert (dry.returncode, dry.stdout[:7]) == (0, "3 files"), dry.stderr
    assert not out.exists()
    nothing = warm_run(arguments, input="notes.txt\n")
    taken = r"kinds, normal take files that end in \.[\w.]+(, \.[\w.]+)+"
    said = rf"Error: no audio files in the list from standard input; left out: 1 \.txt; {taken}\n"
    assert re.fullmatch(said, nothing.stderr), nothing.stderr
    first = run("02")
    assert first.returncode == 0, first.stderr
    again = run("")  # as when a job is resumed in a script without a list
    assert (again.returncode, "2 files" in again.stdout) == (0, True), again.stderr
    more = run("12")
    assert more.returncode == 0, more.stderr
    assert "1 file is new since the last run" in more.stdout
    assert read(out) == ["0.wav", "1.wav", "2.wav"]


def test_the_first_of_a_pattern_are_read(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    result = batch(few_recordings / "**" / "*.wav", models, tmp_path / "out", "--limit", "2")
    assert result.returncode == 0, result.stderr
    assert "--limit: the first 2 files only" in result.stdout
    assert read(tmp_path / "out") == ["0.wav", "1.wav"]


def test_a_table_is_done_row_by_row_and_the_next_day_only_what_is_new(models: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "data", tmp_path / "out"
    (folder / "a").mkdir(parents=True)
    rows = "amount,hour,country\n12,3,ES\nmany,4,FR\n,5,IT\n"
    (folder / "a" / "monday.csv").write_text(rows)
    arguments = [
        *map(str, (AVIZOR, "batch", folder, "--models", models, "--model", "transfers", "--out", out)),
        "--alpha",
        "0.05",
    ]

    def run(code: int) -> str:
        result = warm_run(arguments)
        assert result.returncode == code, result.stderr
        return str(result.stdout)

    first = run(3)
    assert "3 rows, many in 1 file" in first
    assert "1 row could not be read: see " in first
    assert "\n  monday.csv#1: column 'amount' holds 'many'" in first  # the reason, in the last lines
    assert "transfers: rows flagged at" in first
    assert "window row" not in first
    assert "recordings " not in first
    (folder / "a" / "tuesday.csv").write_text(rows.replace("many", "7"))
    run(3)
    assert read(out) == [f"{day}.csv#{row}" for day in ("monday", "tuesday") for row in range(3) if (day, row) != ("monday", 1)]
    assert query(f"select count(*), count(distinct uri) from '{out}/windows/*.parquet'") == [(5, 5)]
    (letter,) = query(f"select uri, message from '{out}/dead_letters/*.parquet'")
    assert letter[0] == f"{folder}/a/monday.csv#1"
    assert letter[1].startswith("monday.csv#1: column 'amount' holds 'many'")


def test_a_table_that_cannot_be_read_is_one_file_with_its_reason(models: Path, tmp_path: Path) -> None:
    table = tmp_path / "broken.csv"
    table.write_text("amount,country\n1,ES\n")
    arguments = ("--models", models, "--model", "transfers", "--out", tmp_path / "out", "--alpha", 0.05)
    result = warm_run([*map(str, (AVIZOR, "batch", table, *arguments))])
    assert result.returncode == 3, result.stderr
    assert result.stdout.startswith("1 file, 20 bytes, in 1 shard\n1 file in ")
    at = result.stdout.index("1 file could not be read: see ")
    assert "correct it, then: avizor retry" in result.stdout[at:]
    assert "\n  broken.csv: the table has no column 'hour'; it has amount, country" in result.stdout[at:]


@pytest.mark.slow
def test_ten_thousand_pictures_have_the_same_answers_as_files_in_a_tar_and_in_a_table(
    shared_data: Path, models: Path, tmp_path: Path
) -> None:
    with gzip.open(shared_data / "mnist10k" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28, 1)
    files = {f"{number:05d}.png": encode_png(picture) for number, picture in enumerate(pixels)}
    (tmp_path / "folder").mkdir()
    for name, data in files.items():
        (tmp_path / "folder" / name).write_bytes(data)
    places = tmp_path / "folder", write_tar(tmp_path / "a.tar", files), write_column(tmp_path / "a.parquet", files, 1000)
    number = "regexp_extract(replace(uri, '.png', ''), '[0-9]+$')::int"
    answers = []
    for place in places:
        words = (AVIZOR, "batch", place, "--models", models, "--model", "digits", "--bytes-column", "image", "--workers", "2")
        done = warm_run([*map(str, words), "--out", f"{place}-out"])
        assert done.returncode == 0, done.stderr
        answers.append(query(f"select {number}, label, probability from '{place}-out/recordings/*.parquet' order by 1"))
    assert [row[0] for row in answers[0]] == list(range(10_000))
    assert len({row[2] for row in answers[0]}) > 9000  # each picture has its own
    assert answers[1] == answers[0] == answers[2]
