"""items/decode.py: whatever comes in, as bytes or as a file, gives the same rows of the model's tensor."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from support.sounds import SAMPLE_RATE, SOUND, tone, write_wav
from support.tables import TRANSFER

from avizor_inference.errors import InvalidInput, MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.decode import content_of_file, decode_item, stream_rows
from avizor_inference.items.input_spec import ImageInput, InputSpec, TensorInput
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.kinds.base import Content, Span, TensorBytes
from avizor_inference.items.kinds.image import ImageFile
from avizor_inference.items.kinds.table import TableRow

IMAGE = ImageInput(height=4, width=6, channels=3)
STEREO = SOUND.model_copy(update={"channels": 2})
VECTOR = TensorInput(name="features", item_shape=(3,))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_an_image_is_one_row_whether_it_is_a_path_bytes_or_an_open_file(picture: Path) -> None:
    expected = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(1, 4, 6, 3)
    data = picture.read_bytes()
    for source in (picture, data, io.BytesIO(data)):
        item = decode_item(ImageFile(source), IMAGE)
        np.testing.assert_array_equal(item.rows, expected)
        assert (item.spans, item.is_short) == ((None,), False)


def test_a_sound_is_a_row_for_each_window_of_each_channel(tmp_path: Path) -> None:
    left, right = tone(1.5, seed=1), tone(1.5, seed=2)
    path = write_wav(tmp_path / "stereo.wav", np.stack([left, right], axis=1))
    item = decode_item(SoundFile(path), SOUND)
    starts = [0, 4096, 12000 - 4096]
    assert item.spans == tuple(Span(channel, start, 4096) for start in starts for channel in (0, 1))
    for row, span in zip(item.rows, item.spans, strict=True):
        assert span is not None
        np.testing.assert_allclose(row, (left, right)[span.channel][span.start_sample : span.end_sample], atol=2**-15)
    from_bytes = decode_item(SoundFile(path.read_bytes()), SOUND)
    np.testing.assert_array_equal(from_bytes.rows, item.rows)


def test_a_sound_whose_channels_belong_together_is_a_row_for_each_window(tmp_path: Path) -> None:
    both = np.stack([tone(1.5, seed=1), tone(1.5, seed=2)], axis=1)
    path = write_wav(tmp_path / "stereo.wav", both)
    item = decode_item(SoundFile(path), STEREO)
    assert item.spans == tuple(Span(0, start, 4096) for start in (0, 4096, 12000 - 4096))
    assert item.rows.shape == (3, 2, 4096)
    alone = decode_item(SoundFile(path), SOUND)  # channel by channel at each position
    np.testing.assert_array_equal(item.rows.reshape(alone.rows.shape), alone.rows)
    short = decode_item(SoundFile(write_wav(tmp_path / "short.wav", both[:800])), STEREO)
    assert (short.is_short, short.spans, short.rows.shape) == (True, (Span(0, 0, 800),), (1, 2, 4096))
    tensor = TensorBytes("float32", (2, 4096), item.rows[1].tobytes())
    np.testing.assert_array_equal(decode_item(tensor, STEREO).rows, item.rows[1:2])


@pytest.mark.parametrize(("channels", "says"), [(1, "has 1 channel, and"), (3, "has 3 channels, and")])
def test_a_sound_of_other_channels_than_belong_together_is_refused_before_it_is_read(
    tmp_path: Path, channels: int, says: str
) -> None:
    path = write_wav(tmp_path / "other.wav", np.tile(tone(1.0)[:, None], channels))
    with pytest.raises(MediaError, match=f"{says} the model takes 2 together; convert it to 2 channels, or use a model with"):
        next(stream_rows(SoundFile(path), [SOUND, STEREO]))


def test_a_sound_shorter_than_a_window_says_so(tmp_path: Path) -> None:
    item = decode_item(SoundFile(write_wav(tmp_path / "short.wav", tone(0.1))), SOUND)
    assert item.is_short
    assert item.spans == (Span(0, 0, 800),)
    assert not item.rows[0, 800:].any()


def test_the_level_of_a_sound_is_that_before_clipping(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", 4 * tone(1.0), SAMPLE_RATE, subtype="FLOAT")
    item = decode_item(SoundFile(tmp_path / "loud.wav"), SOUND)
    assert item.level.peak > 1
    assert np.abs(item.rows).max() == 1


def test_a_row_of_a_table_is_one_row() -> None:
    item = decode_item(TableRow({"amount": 10, "country": "FR"}), TRANSFER)
    np.testing.assert_array_equal(item.rows, np.array([[10, np.nan, 1]], np.float32))


def test_a_tensor_is_taken_by_every_model() -> None:
    data = np.array([1, 2, 3], "<f4").tobytes()
    np.testing.assert_array_equal(decode_item(TensorBytes("float32", (3,), data), VECTOR).rows, [[1, 2, 3]])
    np.testing.assert_array_equal(decode_item(TensorBytes("float32", (3,), data), TRANSFER).rows, [[1, 2, 3]])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorBytes("float64", (3,), bytes(24)), r"the tensor is float64\[3\]; one item is float32\[3\]"),
        (TensorBytes("float32", (4,), bytes(16)), r"the tensor is float32\[4\]; one item is float32\[3\]"),
        (TensorBytes("float32", (3,), bytes(11)), "holds 11 bytes; one item is 12"),
        (TensorBytes("float32", (3,), np.array([1, np.nan, 2], "<f4").tobytes()), "not a finite number"),
    ],
)
def test_a_tensor_that_is_not_the_models_is_refused(tensor: TensorBytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode_item(tensor, VECTOR)


def test_a_missing_value_in_a_tensor_is_for_tables_alone() -> None:
    tensor = TensorBytes("float32", (3,), np.array([1, np.nan, 2], "<f4").tobytes())
    assert np.isnan(decode_item(tensor, TRANSFER).rows[0, 1])


@pytest.mark.parametrize(
    ("content", "spec", "message"),
    [
        (
            ImageFile(b""),
            SOUND,
            "the item holds image; the model takes audio or pcm: send audio, or ask a model that takes image",
        ),
        (SoundFile(b""), IMAGE, "the item holds audio; the model takes image: send an image, or ask a model that takes audio"),
        (TableRow({}), VECTOR, "the item holds row; the model takes tensor only: send a tensor, or ask a model that takes row"),
        (SoundFile(b""), TRANSFER, "the item holds audio; the model takes row"),
    ],
)
def test_an_item_of_another_kind_is_refused_before_it_is_read(content: Content, spec: InputSpec, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode_item(content, spec)


def test_a_recording_of_too_many_windows_is_refused(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", tone(2.0))
    assert len(decode_item(SoundFile(path), SOUND, max_windows=4).rows) == 4
    with pytest.raises(MediaError, match="more than 3 windows"):
        decode_item(SoundFile(path), SOUND, max_windows=3)


def test_an_item_of_too_many_bytes_is_refused(tmp_path: Path) -> None:
    path, window = write_wav(tmp_path / "long.wav", tone(2.0)), 4096 * 4
    assert len(decode_item(SoundFile(path), SOUND, max_bytes=4 * window).rows) == 4
    with pytest.raises(MediaError, match=r"decodes to more than the 0\.1 MiB that are left for it; send shorter recordings"):
        decode_item(SoundFile(path), SOUND, max_bytes=4 * window - 1)


def test_one_decoding_gives_the_rows_of_several_models(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "sound.wav", tone(1.5))
    overlapping = SOUND.model_copy(update={"hop_samples": 2048})
    level = Level()
    streamed = list(stream_rows(SoundFile(path), [SOUND, overlapping, SOUND], level))
    for place, spec in enumerate([SOUND, overlapping, SOUND]):
        alone = decode_item(SoundFile(path), spec)
        own = [row for model, row in streamed if model == place]
        assert [row.span for row in own] == list(alone.spans)
        np.testing.assert_array_equal(np.stack([row.values for row in own]), alone.rows)
    assert level.samples == 12000  # each sample is looked at once


def test_one_picture_is_a_row_for_each_of_several_models(picture: Path) -> None:
    small = ImageInput(height=2, width=3, channels=1)
    streamed = {place: row.values for place, row in stream_rows(ImageFile(picture), [IMAGE, small])}
    for place, spec in enumerate([IMAGE, small]):
        np.testing.assert_array_equal(streamed[place], decode_item(ImageFile(picture), spec).rows[0])


def test_a_picture_is_one_row_unless_its_header_is_refused(picture: Path) -> None:
    assert ImageFile(picture).count_rows(IMAGE) == 1
    with pytest.raises(MediaError, match="not an image"):
        ImageFile(b"this is not a picture").count_rows(IMAGE)


def test_a_file_is_what_the_model_takes(picture: Path) -> None:
    assert content_of_file(picture, IMAGE) == ImageFile(picture)
    assert content_of_file(picture, SOUND) == SoundFile(picture)
    with pytest.raises(InvalidInput, match="takes table"):
        content_of_file(picture, TRANSFER)
