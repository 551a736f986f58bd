"""What is said of a file that cannot be read is for people: no object of Python's is in it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from avizor_export.fitting.look import kind_of
from avizor_inference.error_text import one_line
from avizor_inference.errors import DatasetError, InvalidInput, MediaError
from avizor_inference.items.data.item_files import ItemFiles
from avizor_inference.items.dataset import Columns
from avizor_inference.items.decode import decode_item
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.input_spec import AudioInput, ImageInput, InputSpec, LogMelFrontEnd, SignalInput
from avizor_inference.items.kinds.base import FileContent
from avizor_inference.items.source_rule import SourceRule

SPECS: tuple[InputSpec, ...] = (
    ImageInput(height=8, width=8, channels=1),
    AudioInput(
        sample_rate=8000, window_samples=800, hop_samples=800, front_end=LogMelFrontEnd(n_fft=256, hop_length=80, n_mels=8)
    ),
    SignalInput(channels=1, window_samples=8, hop_samples=8),
)
# No file of any format; and beginnings of files of each, with nothing behind them.
BEGINNINGS = (
    b"no file at all",
    *(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\0", b"BM", b"RIFF\x10\0\0\0WEBPVP8 "),
    *(b"RIFF\x10\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22", b"OggS\0\2", b"ID3\4\0\0\0\0\0\0\xff\xfb", b"FORM\0\0\0\x10AIFF"),
    *(b"\x93NUMPY\1\0", b"PK\3\4\x14\0", b"MATLAB 5.0 MAT-file", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b\x08"),
)
OBJECT = re.compile(r"_io\.|object at|0x[0-9a-f]{6}")


def contents(spec: InputSpec, path: Path) -> Iterator[FileContent]:
    kind = spec.file_content()
    assert kind is not None
    yield kind(path)
    yield kind(path.read_bytes())
    yield kind(io.BytesIO(path.read_bytes()))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.modality)
def test_no_message_about_an_unreadable_file_holds_an_object(spec: InputSpec, tmp_path: Path) -> None:
    kind = spec.file_content()
    assert kind is not None
    said = set[str]()

    def refused(read: Callable[[], object]) -> None:
        with pytest.raises((MediaError, InvalidInput, DatasetError)) as caught:
            read()
        said.add(str(caught.value))

    for suffix in sorted(kind.suffixes):
        for beginning in BEGINNINGS:
            path = tmp_path / f"item{suffix}"
            path.write_bytes(beginning)
            (entry,) = ItemFiles(spec, Columns()).list(path, SourceRule(), LeftOut())
            for content in contents(spec, path):
                refused(partial(decode_item, content, spec))
                refused(partial(kind_of(spec.modality).look, entry, content))
    assert len(said) > 2
    assert not [message for message in said if OBJECT.search(message)]


def test_an_object_in_the_text_of_a_library_is_the_file(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        assert one_line(ValueError(f"cannot read {file}")) == "cannot read the file"
    assert one_line(ValueError(f"{io.BytesIO()} is cut off")) == "the file is cut off"
