"""items/source_rule.py: the source of a file."""

from __future__ import annotations

import unicodedata
from pathlib import PurePath

import pytest

from avizor_inference.errors import SettingsError
from avizor_inference.items.source_rule import SourceRule


def test_without_a_pattern_the_source_is_the_first_folder() -> None:
    assert SourceRule().source_of(PurePath("fan-1/normal/1.wav")) == "fan-1"
    assert SourceRule().source_of(PurePath("1.wav")) == "default"


def test_with_a_pattern_the_source_is_its_first_group() -> None:
    assert SourceRule(r"_([a-z]+)_").source_of(PurePath("3_theo_12.wav")) == "theo"
    assert SourceRule(r"_([a-z]+)_").source_of(PurePath("other.wav")) == "default"


@pytest.mark.parametrize(("pattern", "message"), [("(", "not a regular expression"), ("abc", "has no group")])
def test_a_pattern_that_cannot_tell_a_source_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SourceRule(pattern)


@pytest.mark.parametrize("path", ["fan-1/normal/1.wav", "1.wav", "/1.wav", "/data/1.wav"])
@pytest.mark.parametrize("pattern", ["", "([a-z]+)/"])
def test_a_text_has_the_source_of_its_path(path: str, pattern: str) -> None:
    assert SourceRule(pattern).source_of(path) == SourceRule(pattern).source_of(PurePath(path))


def test_a_file_in_the_root_folder_has_the_root_as_its_source() -> None:
    assert SourceRule().source_of("/1.wav") == "/"


@pytest.mark.parametrize("pattern", ["", "^([a-zü]+) ?1"])
def test_a_folder_that_a_mac_wrote_is_the_source_that_a_keyboard_writes(pattern: str) -> None:
    path = unicodedata.normalize("NFD", "lüfter 1/a.wav")
    assert SourceRule(pattern).source_of(path) == ("lüfter" if pattern else "lüfter 1")
