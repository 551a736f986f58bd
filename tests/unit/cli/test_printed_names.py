"""What a command prints of an error or a warning gives a terminal no orders, whatever the name of a file has in it."""

from __future__ import annotations

import logging

import pytest

from avizor_cli.main import _fail
from avizor_cli.warning_lines import WarningLines

NAME, SHOWN = "a\x1b]0;owned\x07\udcff.wav", "a\\x1b]0;owned\\x07\\udcff.wav"


def test_an_error_shows_the_codes_of_what_cannot_be_printed_and_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _fail(f"{NAME} cannot be read\nname another file, such as \N{LATIN SMALL LETTER E WITH ACUTE}.wav")
    assert capsys.readouterr().err == (
        f"Error: {SHOWN} cannot be read\nname another file, such as \N{LATIN SMALL LETTER E WITH ACUTE}.wav\n"
    )


def test_a_warning_does_so_too() -> None:
    record = logging.LogRecord("avizor_pipeline", logging.WARNING, "", 0, "%s was removed", (NAME,), None)
    assert WarningLines().format(record) == f"Warning: {SHOWN} was removed."
