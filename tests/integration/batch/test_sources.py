"""What a job reads: patterns, lists, standard input, and the first few of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from integration.jobs import batch, command, query


def read(out: Path) -> list[str]:
    return [Path(uri).name for (uri,) in query(f"select distinct uri from '{out}/recordings/*.parquet' order by uri")]


def test_a_list_from_standard_input_says_what_is_new(few_recordings: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = command(Path("-"), models, out)

    def run(names: str, *more: str) -> subprocess.CompletedProcess[str]:
        text = "".join(f"{few_recordings}/a/{name}.wav\n" for name in names)
        return subprocess.run([*arguments, *more], input=text, capture_output=True, text=True, timeout=120, check=False)

    dry = run("012", "--dry-run")
    assert (dry.returncode, dry.stdout[:7]) == (0, "3 files"), dry.stderr
    assert not out.exists()
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
