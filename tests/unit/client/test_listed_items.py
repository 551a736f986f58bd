"""cli/listed_items.py: what the command line names, as it is sent."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avizor_client.cli import listed_items
from avizor_client.errors import InputError


def test_standard_input_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_items, "MOST_BYTES", 1 << 20)
    model: Any = SimpleNamespace(input_kind="image")
    for size, is_refused in (((1 << 20), False), ((1 << 20) + 1, True)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(size))))
        listed = listed_items.listed_items(["-"], model, "", mix_channels=False)
        if is_refused:
            with pytest.raises(InputError, match="standard input has more than 1 MiB"):
                next(listed)
        else:
            assert isinstance(next(listed), listed_items.Listed)


def test_a_file_that_is_no_array_costs_itself_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.zeros((2, 3), np.uint8))
    np.save(tmp_path / "texts.npy", np.array(["a"]))
    whole = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-1])
    (tmp_path / "head.npy").write_bytes(whole[:20])
    (tmp_path / "none.npy").write_bytes(b"no array")
    (tmp_path / "empty.npy").touch()
    paths = [str(tmp_path / f"{name}.npy") for name in ("cut", "good", "texts", "head", "none", "empty", "good")]
    for kind in ("image", "tensor", "table"):
        model: Any = SimpleNamespace(input_kind=kind)
        found = list(listed_items.listed_items(paths, model, "", mix_channels=False))
        assert [isinstance(each, listed_items.Listed) for each in found] == [False, True, False, False, False, False, True]
        for each in found:
            if isinstance(each, listed_items.Unreadable):
                assert re.match("is not a .npy file that can be read|an array of str", each.problem), each
