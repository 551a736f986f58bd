"""items: an item of a call as a file, from which the same rows are read."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from avizor_inference.items.data.open_packs import open_packs
from avizor_inference.items.dataset import Entry, Part
from avizor_inference.items.decode import decode_item
from avizor_inference.items.file_access import state_at
from avizor_inference.items.input_spec import (
    AudioInput,
    CategoryColumn,
    ImageInput,
    InputSpec,
    NumberColumn,
    SignalInput,
    TableFrontEnd,
    TableInput,
    TensorInput,
    WaveformFrontEnd,
)
from avizor_inference.items.kinds.audio import PcmSound, SoundFile
from avizor_inference.items.kinds.base import Content, FileContent, TensorBytes
from avizor_inference.items.kinds.image import ImageFile
from avizor_inference.items.kinds.signal import SignalFile
from avizor_inference.items.kinds.table import TableRow

IMAGE = ImageInput(height=4, width=4, channels=3)
SOUND = AudioInput(sample_rate=8000, window_samples=400, hop_samples=200, front_end=WaveformFrontEnd())
SIGNAL = SignalInput(channels=2, window_samples=10, hop_samples=5)
TABLE = TableInput(
    front_end=TableFrontEnd(
        columns=(
            NumberColumn(name="amount", fill=None),
            NumberColumn(name="a,b\n"),
            CategoryColumn(name="country", categories=("1", "ES")),
        )
    )
)
TENSOR = TensorInput(dtype="int32", item_shape=(2, 3))
RNG = np.random.default_rng(0)


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (6, 5, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def sound(kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, RNG.uniform(-0.5, 0.5, (900, 2)), 16_000, format=kind)
    return file.getvalue()


def signal(kind: str) -> bytes:
    file = io.BytesIO()
    values = RNG.standard_normal((2, 23))
    if kind == "csv":
        np.savetxt(file, values.T, delimiter=",", header="a,b", comments="")
    else:
        np.save(file, values)
    return file.getvalue()


FLOATS = RNG.uniform(-2, 2, (901, 2)).astype("<f4").tobytes()
SHORTS = RNG.integers(-32768, 32767, 901).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("content", "spec", "suffix"),
    [
        (ImageFile(picture("PNG")), IMAGE, ".png"),
        (ImageFile(picture("WEBP")), IMAGE, ".webp"),
        (ImageFile(picture("TIFF")), IMAGE, ".tif"),
        (SoundFile(sound("WAV")), SOUND, ".wav"),
        (SoundFile(sound("FLAC")), SOUND, ".flac"),
        (SoundFile(sound("OGG")), SOUND, ".ogg"),
        (SoundFile(sound("MP3")), SOUND, ".mp3"),
        (PcmSound("", 11_025, 0, SHORTS), SOUND, ".wav"),
        (PcmSound("f32le", 8000, 2, FLOATS), SOUND, ".wav"),
        (SignalFile(signal("npy")), SIGNAL, ".npy"),
        (SignalFile(signal("csv")), SIGNAL, ".csv"),
        (TableRow({"amount": 3, "country": "1"}), TABLE, ".parquet"),
        (TableRow({"a,b\n": True, "country": "nowhere"}), TABLE, ".parquet"),
        (TensorBytes("int32", (2, 3), np.arange(6, dtype="<i4").tobytes()), TENSOR, ".npy"),
        (TensorBytes("float32", (3,), np.array([1, np.nan, 0], "<f4").tobytes()), TABLE, ".npy"),
        (TensorBytes("float32", (2, 10), bytes(80)), SIGNAL, ".npy"),
    ],
    ids=lambda value: (
        value.modality if hasattr(value, "modality") else value if isinstance(value, str) else type(value).__name__
    ),
)
def test_the_file_of_an_item_gives_the_same_rows(
    content: Content, spec: InputSpec, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    form = content.file_form(spec)
    assert form.suffix == suffix
    path = tmp_path_factory.mktemp("file") / f"item{form.suffix}"
    path.write_bytes(form.data)
    if form.is_pack:
        contents: tuple[type[Content], ...] = (*spec.contents(), TensorBytes)
        kinds = [kind for kind in contents if not issubclass(kind, FileContent)]
        entry = Entry("item#0", str(path), "", *state_at(path), Part("0", 0))
        ((item, again),) = open_packs(kinds, row_columns=spec.column_names())[suffix].open(entry)
        assert item.uri == "item#0"
    else:
        kind = next(kind for kind in spec.contents() if issubclass(kind, FileContent))
        again = kind(path)
    expected, found = decode_item(content, spec), decode_item(again, spec)
    np.testing.assert_array_equal(found.rows, expected.rows)
    assert found.spans == expected.spans
    assert found.level.peak == expected.level.peak


def test_a_column_of_a_row_has_its_type_where_its_value_is_missing() -> None:
    schema = pq.read_schema(pa.BufferReader(TableRow({"a,b\n": 1}).file_form(TABLE).data))
    assert dict(zip(schema.names, map(str, schema.types), strict=True)) == {
        "amount": "double", "a,b\n": "double", "country": "string",
    }  # fmt: skip


def test_what_has_no_known_mark_is_named_so() -> None:
    assert SoundFile(b"\x00\x01nothing").file_form(SOUND).suffix == ".bin"
    assert ImageFile(b"RIFF....WAVE").file_form(IMAGE).suffix == ".bin"  # a suffix of another kind is not taken
