"""items/signals: files of signals are read in blocks, in either orientation, and refused with the place that is wrong."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from support.signals import SIGNAL, SUFFIXES, vibration, write_signal

from avizor_inference.errors import MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.decode import decode_item
from avizor_inference.items.input_spec import SignalInput
from avizor_inference.items.kinds.signal import SignalFile
from avizor_inference.items.signals import layout

ONE = SignalInput(channels=1, window_samples=100, hop_samples=100)
TWO = SignalInput(channels=2, window_samples=100, hop_samples=100)


def decoded(source: Path | bytes, spec: SignalInput = ONE) -> np.ndarray[Any, Any]:
    return decode_item(SignalFile(source), spec).rows


def npy(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def refused(source: Path | bytes, spec: SignalInput = ONE) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decoded(source, spec)
    return caught.value


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_windows_of_all_channels_unscaled(tmp_path: Path, suffix: str) -> None:
    signal, level = vibration(600), Level()
    path = write_signal(tmp_path / f"a{suffix}", signal)
    item = decode_item(SignalFile(path), SIGNAL)
    expected = np.stack([signal[start : start + 250].T for start in (0, 250, 350)])  # the last one moved back
    np.testing.assert_array_equal(item.rows, expected)
    assert [(span.channel, span.start_sample, span.end_sample) for span in item.spans if span] == [
        (0, 0, 250), (0, 250, 500), (0, 350, 600)
    ]  # fmt: skip
    assert not item.is_short
    np.testing.assert_array_equal(decoded(path.read_bytes(), SIGNAL), expected)
    list(SignalFile(path).rows([SIGNAL], level))
    assert (level.peak, level.beyond) == (np.abs(signal).max(), 0)


def test_a_short_recording_is_filled_up_with_zeros() -> None:
    item = decode_item(SignalFile(npy(np.full(30, 7.0))), ONE)
    assert item.is_short
    assert item.rows.shape == (1, 1, 100)
    assert (item.rows[0, 0, :30] == 7).all()
    assert (item.rows[0, 0, 30:] == 0).all()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", ">f8", "int16", "float16", "bool"])
def test_arrays_are_read_in_either_orientation_order_and_type(
    monkeypatch: pytest.MonkeyPatch, transposed: bool, order: Any, dtype: str
) -> None:
    monkeypatch.setattr(layout, "BLOCK_VALUES", 64)  # several blocks
    signal = np.random.default_rng(0).integers(-100, 100, (300, 2)).astype(dtype)
    array = np.asarray(signal.T if transposed else signal, order=order)
    windows = signal.astype(np.float32).reshape(3, 100, 2).transpose(0, 2, 1)
    np.testing.assert_array_equal(decoded(npy(array), TWO), windows)


@pytest.mark.parametrize("shape", [(200,), (200, 1), (1, 200)])
def test_one_channel_may_be_written_in_three_ways(shape: tuple[int, ...]) -> None:
    assert decoded(npy(np.arange(200.0).reshape(shape))).shape == (2, 1, 100)


@pytest.mark.parametrize(
    ("shape", "spec", "says"),
    [
        ((2, 2), TWO, r"\[2, 2\]: either axis may be the 2 channels"),
        ((200,), TWO, r"\[200\], one channel; the model takes 2"),
        ((200, 3), TWO, r"\[200, 3\]; the model takes 2 channels: \[steps, 2\] or \[2, steps\]"),
        ((4, 2, 100), TWO, r"\[4, 2, 100\]; one recording is"),
        ((), ONE, r"is \[\]; one recording is"),
        ((0,), ONE, "holds no values"),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], spec: SignalInput, says: str) -> None:
    assert refused(npy(np.ones(shape)), spec).args[0]
    with pytest.raises(MediaError, match=says):
        decoded(npy(np.ones(shape)), spec)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([{}, None]), "holds Python objects"),
        (np.ones(200, complex), "complex numbers; save the real part"),
        (np.array(["a"] * 200), "values; save real numbers"),
    ],
)
def test_what_is_not_a_real_number_is_refused_and_nothing_is_unpickled(array: np.ndarray[Any, Any], says: str) -> None:
    assert says in str(refused(npy(array, allow_pickle=True)))
    buffer = io.BytesIO()
    np.savez(buffer, signal=array)
    assert says in str(refused(buffer.getvalue()))


@pytest.mark.parametrize(("value", "says"), [(np.nan, "is nan"), (-np.inf, "is -inf"), (1e300, "is 1e+300, which float32")])
def test_a_value_that_is_not_finite_is_refused_with_its_place(value: float, says: str) -> None:
    signal = np.ones((300, 2))
    signal[123, 1] = value
    error = refused(npy(signal), TWO)
    assert str(error).startswith(f"step 123 of channel 1 {says}")
    assert error.offset == 123


def test_a_npy_file_is_whole_or_refused(tmp_path: Path) -> None:
    data = npy(np.ones(200))
    assert "is cut off" in str(refused(data[:-8]))
    assert "header" in str(refused(data[:6]))
    assert "has more after its array" in str(refused(data + data))
    huge = data.replace(b"(200,)", b"(2" + b"0" * 12 + b",)")
    assert "header" in str(refused(huge))
    assert "damaged" in str(refused(b"\x93NUMPY\2\0\xff\xff\xff\x7f" + bytes(100)))
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    windows = SignalFile(path).rows([ONE], None)
    next(windows)
    os.utime(path, ns=(1, 1))
    with pytest.raises(MediaError, match="changed while it was read"):
        list(windows)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".csv"])
def test_a_file_of_any_format_that_was_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    whole = write_signal(tmp_path / f"a{suffix}", vibration(600)).read_bytes()
    assert len(decoded(whole, SIGNAL)) == 3
    assert str(refused(whole[: int(len(whole) * share)], SIGNAL))


def test_a_csv_file_that_was_cut_off_before_the_last_column_is_refused_with_the_line(tmp_path: Path) -> None:
    """Text has no length: of a cut between two lines, or within the last number of one, nothing is left to see."""
    whole = write_signal(tmp_path / "a.csv", vibration(600)).read_bytes()
    for row in (100, 599):
        lines = whole.splitlines(keepends=True)
        cut = b"".join(lines[: row + 1]) + lines[row + 1].partition(b",")[0]
        assert str(refused(cut, SIGNAL)).startswith(f"line {row + 2} has no value in column 2")


def test_arrays_are_chosen_by_key_or_by_the_names_of_the_channels(tmp_path: Path) -> None:
    de, fe = np.arange(200.0), -np.arange(200.0)
    scipy.io.savemat(tmp_path / "a.mat", {"X097_DE_time": de, "X097_FE_time": fe, "X097RPM": 1796})
    by_key = ONE.model_copy(update={"key": "*DE_time"})
    np.testing.assert_array_equal(decoded(tmp_path / "a.mat", by_key).ravel(), de)
    by_name = TWO.model_copy(update={"columns": ("*FE_time", "*DE_time")})
    np.testing.assert_array_equal(decoded(tmp_path / "a.mat", by_name)[0], [fe[:100], de[:100]])
    assert "several arrays, 'X097_DE_time', 'X097_FE_time'; name the signal's" in str(refused(tmp_path / "a.mat"))
    twice = ONE.model_copy(update={"key": "*_time"})
    assert "2 array named '*_time'" in str(refused(tmp_path / "a.mat", twice))
    scipy.io.savemat(tmp_path / "b.mat", {"FE_time": fe, "DE_time": de[:-1]})
    assert "different lengths: 'FE_time' 200, 'DE_time' 199 steps" in str(refused(tmp_path / "b.mat", by_name))


@pytest.mark.parametrize(("version", "is_compressed"), [("4", False), ("5", False), ("5", True)])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i4", "i2", "u1", "bool"])
def test_matlab_files_are_read_as_scipy_wrote_them(tmp_path: Path, version: Any, is_compressed: bool, dtype: str) -> None:
    signal = np.random.default_rng(0).integers(0, 100, (200, 2)).astype(dtype)
    others = {"name": "pump", "rpm": 1796.0, "z": 1j * np.ones(5)} | ({"parts": {"a": 1}} if version == "5" else {})
    scipy.io.savemat(tmp_path / "a.mat", {**others, "x": signal}, format=version, do_compression=is_compressed)
    rows = decoded(tmp_path / "a.mat", TWO.model_copy(update={"key": "x"}))
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), signal.T)
    assert "'z' holds complex numbers" in str(refused(tmp_path / "a.mat", ONE.model_copy(update={"key": "z"})))
    data = (tmp_path / "a.mat").read_bytes()
    assert "cut off" in str(refused(data[:-20], TWO.model_copy(update={"key": "x"})))


def test_matlab_files_of_the_other_byte_order() -> None:
    name, values = b"x\0", np.arange(200, dtype=">f8")
    of_version_4 = np.array([1000, 200, 1, 0, len(name)], ">i4").tobytes() + name + values.tobytes()
    parts = [(6, np.array([6, 0], ">u4").tobytes()), (5, np.array([200, 1], ">i4").tobytes()), (1, b"signal".ljust(8, b"\0"))]
    element = b"".join(np.array([kind, len(data)], ">u4").tobytes() + data for kind, data in [*parts, (9, values.tobytes())])
    of_version_5 = b"MATLAB 5.0".ljust(124) + b"\1\0MI" + np.array([14, len(element)], ">u4").tobytes() + element
    for data in (of_version_4, of_version_5):
        np.testing.assert_array_equal(decoded(data).ravel(), values)


def test_hdf5_is_refused_with_what_to_do() -> None:
    for start in (b"MATLAB 7.3 MAT-file", b"\x89HDF\r\n\x1a\n"):
        assert "save(..., '-v7')" in str(refused(start + bytes(500)))


def test_archives_that_unpack_to_too_much_are_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**26,)})
        member.write(header.getvalue())
    assert "at most 33,554,432 are unpacked" in str(refused(packed.getvalue()))
    # Ten numbers by its header, with two gigabytes after them.
    parts = [(14, b""), (6, np.array([6, 0], "<u4").tobytes()), (5, np.array([10, 1], "<i4").tobytes()), (1, bytes(8))]
    text = b"".join(np.array([kind, len(data)], "<u4").tobytes() + data for kind, data in parts)
    bomb = zlib.compress(text + np.array([9, 2**31], "<u4").tobytes() + bytes(2**20))
    element = np.array([15, len(bomb)], "<u4").tobytes() + bomb
    assert "damaged" in str(refused(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + element))


def csv(text: str, spec: SignalInput = TWO) -> np.ndarray[Any, Any]:
    return decoded(text.encode(), spec)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1,-1\n2,-2\n", TWO),  # no header
        ("\ufeffa,b\r\n1,-1\r\n2,-2\r\n\r\n", TWO),
        ("t;b;a\n0;-1;1\n1;-2;2", TWO.model_copy(update={"columns": ("a", "b")})),
        ('"a, left"\t"b"\n1\t-1\n2\t-2\n', TWO.model_copy(update={"columns": ("a, left", "b")})),
        ("id|a|b\nx, y|1|-1\nz|2|-2\n", TWO.model_copy(update={"columns": ("a", "b"), "delimiter": "|"})),
    ],
)
def test_columns_of_a_csv_file(text: str, spec: SignalInput) -> None:
    np.testing.assert_array_equal(csv(text, spec)[0, :, :3], [[1, 2, 0], [-1, -2, 0]])


@pytest.mark.parametrize(
    ("text", "says", "offset"),
    [
        ("a,b\n1,2\n3,\n", "line 3 has no value in column 2", 1),
        ("a,b\n1,2\n3\n", "line 3 has no value in column 2", 1),
        ("a,b\n1,2\n\n3,4\n", "line 3 is empty", 1),
        ("a,b\n1,NA\n", "line 2 holds 'NA' in column 2, which is not a number", 0),
        ("1,2\n3,nan\n", "line 2 holds 'nan' in column 2", 1),
        ('a;b\n"1,5";2\n', "'1,5' in column 1, which is not a number; write decimal points", 0),
        ("a,b,c\n1,2,3\n", "3 columns, 'a', 'b', 'c', and the model takes 2; name them with columns=", 0),
        ("\u20ac,b\n1,2\n".encode("cp1252").decode("latin-1") + "\0", "is not text", 0),
        ("", "holds no values", 0),
        ("a,b\n", "holds no values", 0),
    ],
)
def test_a_csv_file_is_refused_with_the_line_that_is_wrong(text: str, says: str, offset: int) -> None:
    error = refused(text.encode(), TWO)
    assert says in str(error)
    assert error.offset == offset


def test_a_row_with_decimal_commas_is_refused_and_not_read_shifted() -> None:
    rows = "\n".join(["ax,ay", *["1,2,"] * 150])
    np.testing.assert_array_equal(csv(rows), [[[1] * 100, [2] * 100]] * 2)
    error = refused((rows + "\n2,68,106,10\n").encode(), TWO)
    assert str(error).startswith("line 152 has more values than the 2 of the first line; write decimal points")
    assert error.offset == 150


def test_columns_by_name_need_a_line_of_names() -> None:
    named = TWO.model_copy(update={"columns": ("a", "b")})
    assert "does not name the columns" in str(refused(b"1,2\n", named))
    assert "no column named 'b'; it has 'a', 'c'" in str(refused(b"a,c\n1,2\n", named))
    assert "over 1048576 characters" in str(refused(b"1," * 2**21, TWO))
    assert "line 1 is in UTF-16, not in UTF-8; convert it with `iconv -f UTF-16 -t UTF-8 TABLE.csv > TABLE-utf8.csv`" in str(
        refused("a,b\n1,2\n".encode("utf-16"), TWO)
    )


def test_wav_keeps_floats_beyond_full_scale_and_is_resampled_to_the_models_rate(tmp_path: Path) -> None:
    wave = (50 * np.sin(2 * np.pi * 5 * np.arange(400) / 200)).astype(np.float32)
    soundfile.write(tmp_path / "slow.wav", wave, 200, subtype="FLOAT")
    np.testing.assert_array_equal(decoded(tmp_path / "slow.wav").ravel(), wave)
    at_100 = decoded(tmp_path / "slow.wav", ONE.model_copy(update={"sample_rate": 100.0})).ravel()
    np.testing.assert_allclose(at_100[50:-50], wave[::2][50:-50], atol=0.5)
    soundfile.write(tmp_path / "whole.wav", np.full(100, -32768, np.int16), 48000)
    assert (decoded(tmp_path / "whole.wav") == -1).all()
    assert "1 channels; the model takes 2" in str(refused(tmp_path / "whole.wav", TWO))


@given(st.sampled_from(SUFFIXES), st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    path = write_signal(tmp_path_factory.mktemp("damage") / f"a{suffix}", vibration(40))
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    try:
        rows = decoded(bytes(damaged), SIGNAL)
    except MediaError:
        return
    assert np.isfinite(rows).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("columns=ax", "columns names 1 channels, and channels is 2"),
        ("columns=ax/ax", "columns names 'ax' twice"),
        ("delimiter=1", "delimiter '1' cannot separate numbers"),
        ("mean=1/2/3", "mean has 3 values; give 1, or one for each of the 2 channels"),
        ("std=0", r"std\.0\s+Input should be greater than 0"),
        ("sample_rate=0", r"sample_rate\s+Input should be greater than 0"),
        ("hop_samples=101", "hop_samples 101 is over window_samples 100: samples would be skipped"),
    ],
)
def test_a_description_that_is_not_valid_is_refused(changes: str, says: str) -> None:
    fields = SignalInput.fields_of("channels=2,window_samples=100,hop_samples=100,columns=0/1")
    assert SignalInput.model_validate(fields).columns == ("0", "1")  # names, not numbers
    with pytest.raises(ValueError, match=says):
        SignalInput.model_validate({**fields, **SignalInput.fields_of(changes)})
