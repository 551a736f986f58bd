"""cli/listed_items.py: what the command line names, as it is sent."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

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
