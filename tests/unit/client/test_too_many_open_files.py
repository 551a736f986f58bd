"""A client that may open no more files says how many it may have and how to raise that, and blames no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.open_files import no_more_files

from avizor_client.cli.listed_items import listed_items
from avizor_client.cli.monitor import _open as opened
from avizor_client.errors import InputError
from avizor_client.files import read_file
from avizor_client.items import messages
from avizor_client.tokens import Token

LIMIT = r"cannot be read \(Too many open files: this process may have \d+\); raise `ulimit -n`$"


def listed(path: Path, kind: str) -> list[Any]:
    model: Any = SimpleNamespace(input_kind=kind, input={"columns": [{"name": "a"}]})
    return list(listed_items([str(path)], model, "", mix_channels=False))


READS: dict[str, Callable[[Path], object]] = {
    "file": read_file,
    "token": lambda path: Token(file=path),
    "picture": lambda path: list(messages([path], "image", "")),
    "array": lambda path: list(messages([path.with_suffix(".npy")], "tensor", "")),
    "sound of a command": lambda path: opened(str(path)).__enter__(),
    "item of a command": lambda path: listed(path, "image"),
}


@pytest.mark.parametrize("what", READS)
def test_no_file_is_blamed(tmp_path: Path, what: str) -> None:
    (tmp_path / "a").write_text("abc")
    np.save(tmp_path / "a.npy", np.zeros(3))
    READS[what](tmp_path / "a")
    with no_more_files(), pytest.raises(InputError, match=LIMIT):
        READS[what](tmp_path / "a")


def test_no_table_is_blamed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    assert len(listed(tmp_path / "a.csv", "table")) == 1
    with no_more_files(), pytest.raises(InputError, match=LIMIT):
        listed(tmp_path / "a.csv", "table")


def test_an_array_that_is_missing_is_named_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.npy: cannot be read \(No such file or directory\); name another file"):
        list(messages([tmp_path / "a.npy"], "tensor", ""))
