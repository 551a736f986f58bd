"""cli/item_commands.py: where the results of items are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from avizor_client.cli.item_commands import _Places
from avizor_client.errors import InputError


def test_the_result_of_an_item_is_below_out_wherever_the_item_is(tmp_path: Path) -> None:
    places = _Places(tmp_path)
    assert places.of("a/x.wav", ".npy") == places.of("./a/x.wav", ".npy") == tmp_path / "a" / "x.wav.npy"
    assert places.of("/b/../x.wav", ".npy") == tmp_path / "b" / "x.wav.npy"
    assert (tmp_path / "b").is_dir()


def test_the_result_of_an_item_does_not_take_the_place_of_that_of_another_one(tmp_path: Path) -> None:
    places = _Places(tmp_path)
    places.of("a/x.wav", ".npy")
    with pytest.raises(InputError, match=r"a/x\.wav and \.\./a/x\.wav would both be written to .*; ask about them apart"):
        places.of("../a/x.wav", ".npy")
