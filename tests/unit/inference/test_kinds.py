"""items/kinds/: which files each kind of item takes, and what messages call it."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec

import pytest

from avizor_inference.items.containers.av_containers import AV_SUFFIXES
from avizor_inference.items.containers.detect import AUDIO_SUFFIXES
from avizor_inference.items.kinds.audio import AudioInput, PcmSound, SoundFile
from avizor_inference.items.kinds.base import Content, FileContent
from avizor_inference.items.kinds.image import ImageFile, ImageInput
from avizor_inference.items.kinds.table import TableInput, TableRow

IMAGE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"])


@pytest.mark.parametrize(
    ("kind", "suffixes", "plural"), [(ImageFile, IMAGE_SUFFIXES, "images"), (SoundFile, AUDIO_SUFFIXES | AV_SUFFIXES, "sound")]
)
def test_folders_are_searched_for_the_files_of_a_kind(kind: type[FileContent], suffixes: frozenset[str], plural: str) -> None:
    assert (kind.suffixes, kind.plural) == (suffixes, plural)


@pytest.mark.parametrize(
    ("kind", "name", "noun", "several"),
    [
        (ImageFile, "image", "an image", "images"),
        (SoundFile, "audio", "audio", "recordings"),
        (PcmSound, "pcm", "PCM", "items"),
        (TableRow, "row", "a row", "rows"),
    ],
)
def test_what_messages_call_an_item(kind: type[Content], name: str, noun: str, several: str) -> None:
    assert (kind.name, kind.noun, kind.several) == (name, noun, several)


def test_each_kind_of_input_takes_its_own_items() -> None:
    assert (ImageInput.content, AudioInput.content, TableInput.content) == (ImageFile, SoundFile, TableRow)
    assert (AudioInput.value_range, TableInput.nan_is_missing, AudioInput.nan_is_missing) == ((-1.0, 1.0), True, False)


def test_without_pyav_its_files_are_known_and_people_are_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SoundFile.more_suffixes == {}
    monkeypatch.setitem(sys.modules, "av", None)  # as it is where PyAV is not installed
    spec = find_spec(SoundFile.__module__)
    assert spec is not None
    assert spec.loader is not None
    without = module_from_spec(spec)
    spec.loader.exec_module(without)
    assert without.SoundFile.suffixes == AUDIO_SUFFIXES
    assert without.SoundFile.more_suffixes == dict.fromkeys(AV_SUFFIXES, "pip install 'avizor[av]'")


def test_pictures_that_are_not_read_are_known_and_people_are_told_to_convert_them() -> None:
    assert set(ImageFile.more_suffixes) == {".heic", ".heif", ".avif", ".jxl"}
    assert all("convert them to JPEG or PNG" in how for how in ImageFile.more_suffixes.values())


@pytest.mark.parametrize("item", [ImageFile(b""), SoundFile(b""), PcmSound("", 8000, 1, b""), TableRow({})])
def test_an_item_does_not_change(item: Content) -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        item.source = b""  # type: ignore[attr-defined]
