"""items/kinds/: which files each kind of item takes, and what messages call it."""

from __future__ import annotations

import pytest

from avizor_inference.items.containers.av_containers import AV_SUFFIXES
from avizor_inference.items.containers.detect import AUDIO_SUFFIXES
from avizor_inference.items.kinds.audio import AudioInput, SoundFile
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
    ("kind", "name", "noun"), [(ImageFile, "image", "an image"), (SoundFile, "audio", "audio"), (TableRow, "row", "a row")]
)
def test_what_messages_call_an_item(kind: type[Content], name: str, noun: str) -> None:
    assert (kind.name, kind.noun) == (name, noun)


def test_each_kind_of_input_takes_its_own_items() -> None:
    assert (ImageInput.content, AudioInput.content, TableInput.content) == (ImageFile, SoundFile, TableRow)
    assert (AudioInput.value_range, TableInput.nan_is_missing, AudioInput.nan_is_missing) == ((-1.0, 1.0), True, False)


def test_pictures_that_are_not_read_are_known_and_people_are_told_to_convert_them() -> None:
    assert set(ImageFile.more_suffixes) == {".heic", ".heif", ".avif", ".jxl"}
    assert all("convert them to JPEG or PNG" in how for how in ImageFile.more_suffixes.values())


@pytest.mark.parametrize("item", [ImageFile(b""), SoundFile(b""), TableRow({})])
def test_an_item_does_not_change(item: Content) -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        item.source = b""  # type: ignore[attr-defined]
