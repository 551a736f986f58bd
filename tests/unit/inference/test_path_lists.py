"""path_lists.py and dataset.py: patterns, and lists of files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from avizor_inference.errors import DatasetError
from avizor_inference.items.dataset import Columns, list_dataset
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.source_rule import SourceRule

WAV = frozenset([".wav"])
FILES = ("1.wav", "a/1.wav", "a/2.wav", "a/notes.txt", "b/c/3.wav", "b/.hidden.wav", "b[1]/4.wav")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(10))
    return tmp_path


def listed(root: Path, base: Path, **more: object) -> list[tuple[str, str]]:
    entries = list_dataset([root], WAV, **more)  # type: ignore[arg-type]
    return [(entry.path.relative_to(base).as_posix(), entry.source) for entry in entries]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("**/*.wav", ["1.wav", "a/1.wav", "a/2.wav", "b/c/3.wav", "b[1]/4.wav"]),
        ("*/*.wav", ["a/1.wav", "a/2.wav", "b[1]/4.wav"]),
        ("?/[!2].wav", ["a/1.wav"]),
        ("a/*", ["a/1.wav", "a/2.wav"]),
        ("b/**", ["b/c/3.wav"]),
        ("b[[]1]/*.wav", ["b[1]/4.wav"]),
    ],
)
def test_a_pattern_finds_the_files_of_the_suffixes(folder: Path, pattern: str, found: list[str]) -> None:
    assert [name for name, _ in listed(folder / pattern, folder)] == found


def test_the_source_is_the_first_folder_below_the_fixed_part_of_a_pattern(folder: Path) -> None:
    assert [source for _, source in listed(folder / "**" / "*.wav", folder)] == ["default", "a", "a", "b", "b[1]"]
    assert [source for _, source in listed(folder / "**" / "*.wav", folder, rule=SourceRule(r"(\d)\.wav"))] == list("11234")


def test_what_a_pattern_matches_and_is_not_read_is_counted_and_a_pattern_of_nothing_is_refused(folder: Path) -> None:
    left_out = LeftOut()
    listed(folder / "a" / "*", folder, left_out=left_out)
    assert str(left_out) == "1 .txt"
    with pytest.raises(DatasetError, match=r"no file matches .*\*\.flac"):
        listed(folder / "**" / "*.flac", folder)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    assert listed(folder / "b[1]" / "4.wav", folder) == [("b[1]/4.wav", "default")]


def test_a_text_file_lists_files_in_its_order_each_once(folder: Path) -> None:
    names = ["b/c/3.wav", "", "a/1.wav", "a/notes.txt", "b/c/3.wav", "a/gone.wav"]
    (folder / "list.txt").write_text("\r\n".join(f"{folder}/{name}" if name else "" for name in names))
    left_out = LeftOut()
    found = listed(folder / "list.txt", folder, left_out=left_out)
    assert found == [("b/c/3.wav", "c"), ("a/1.wav", "a"), ("a/gone.wav", "a")]  # reading says that it is gone
    assert dict(left_out.counts) == {".txt": 1, "listed again": 1}


def test_a_list_as_windows_saves_it_is_read_and_one_that_is_no_utf_8_is_named(folder: Path) -> None:
    text = f"{folder}/a/1.wav\r\n{folder}/a/2.wav\r\n"
    (folder / "list.txt").write_text(text, encoding="utf-8-sig", newline="")
    assert listed(folder / "list.txt", folder) == [("a/1.wav", "a"), ("a/2.wav", "a")]
    (folder / "list.txt").write_text(text, encoding="utf-16", newline="")
    with pytest.raises(
        DatasetError,
        match=r"list\.txt: it is in UTF-16, not in UTF-8; convert it with `iconv -f UTF-16 -t UTF-8 .*/list\.txt > ",
    ):
        listed(folder / "list.txt", folder)


def test_a_list_with_nul_bytes_names_files_whose_names_hold_ends_of_lines(folder: Path) -> None:
    """More of them than are read at once."""
    names = [f"a/{number}\n\r.wav" for number in range(3000)]
    (folder / "list.txt").write_bytes(b"".join(f"{folder}/{name}\0".encode() for name in names))
    assert [name for name, _ in listed(folder / "list.txt", folder)] == names
    (folder / "list.txt").write_bytes(f"{folder}/a/1.wav\0{folder}/a/2\n.wav".encode())
    assert [name for name, _ in listed(folder / "list.txt", folder)] == ["a/1.wav", "a/2\n.wav"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_lists_files_below_its_folder_with_their_sources(folder: Path, suffix: str) -> None:
    table = pa.table({"file": ["a/1.wav", f"{folder}/b/c/3.wav", "a/2.wav"], "machine": ["007", "x", None]})
    write = {".csv": pyarrow.csv.write_csv, ".parquet": pyarrow.parquet.write_table}[suffix]
    root = (folder / "list").with_suffix(suffix)
    write(table, root)
    files = listed(root, folder, columns=Columns("file", "machine"))
    assert files == [("a/1.wav", "007"), ("b/c/3.wav", "x"), ("a/2.wav", "a")]
    assert listed(root, folder, columns=Columns("file")) == [("a/1.wav", "a"), ("b/c/3.wav", "c"), ("a/2.wav", "a")]
    with pytest.raises(DatasetError, match="no column 'fil', 'Machine'; it has file, machine; did you mean 'file', 'm"):
        listed(root, folder, columns=Columns("fil", "Machine"))
    with pytest.raises(DatasetError, match=r"is a table: say which column holds paths \(--path-column\)"):
        listed(root, folder)
    root.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError):
        listed(root, folder, columns=Columns("file"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"file,file\na/1.wav,a/2.wav\n", "list.csv has more than one column 'file'; leave one of them out"),
        (
            b"file,gr\xf6sse\na/1.wav,1\n",
            "list.csv: it is not in UTF-8; if .* `iconv -f WINDOWS-1252 -t UTF-8 .*list.csv > .*list-utf8.csv`",
        ),
        (b"file\na/1\0.wav\n", r"list.csv holds 'a/1\\x00.wav', which no file can be called"),
        (b"file;hours\na/1.wav;1,5\n", "list.csv: its columns look separated by ';'; .* so convert it: python -c "),
    ],
)
def test_a_table_that_cannot_be_a_list_is_refused_with_the_reason(folder: Path, data: bytes, said: str) -> None:
    (folder / "list.csv").write_bytes(data)
    with pytest.raises(DatasetError, match=said):
        listed(folder / "list.csv", folder, columns=Columns("file"))


def test_brackets_of_a_pattern_stay_within_a_folder(folder: Path) -> None:
    with pytest.raises(DatasetError, match="no file matches"):
        listed(folder / "?[!x]?.wav", folder)
