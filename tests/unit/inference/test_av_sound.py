"""items/av_sound.py: sound from PyAV's containers is whole, begins where it should, or is refused with a reason."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from support.av_files import RATE, encoded, sound
from support.mutations import damaged

from avizor_inference.errors import MediaError
from avizor_inference.items.audio import count_windows, windows_of
from avizor_inference.items.audio_file import opened_sound
from avizor_inference.items.windows import WindowFormat

SOUND = sound(1.5, channels=2)
# Container and codec -> frames by which the sound begins later than the one that was encoded, and ends later at the most.
LOSSY = {
    ("mp4", "aac"): (0, 0),
    ("ipod", "aac"): (0, 0),
    ("mov", "aac"): (0, 0),
    ("mp4", "libopus"): (0, 0),
    ("mp4", "libmp3lame"): (0, 0),
    ("webm", "libopus"): (0, 0),
    ("matroska", "aac"): (0, 1024),
    ("adts", "aac"): (1024, 2048),  # nothing in such a file tells the delay of the encoder
}
LOSSLESS = [("mp4", "flac"), ("mp4", "alac"), ("mov", "pcm_s16le"), ("matroska", "flac"), ("avi", "pcm_s16le")]


def read(data: bytes) -> NDArray[np.float32]:
    with opened_sound(io.BytesIO(data)) as opened:
        return np.concatenate(list(opened.blocks()))


def delay(found: NDArray[np.float32], original: NDArray[np.float32]) -> int:
    """Frames by which one sound has to be moved to be most like the other."""
    size = 2 * max(len(found), len(original))
    likeness = np.fft.irfft(np.fft.rfft(found[:, 0], size) * np.conj(np.fft.rfft(original[:, 0], size)))
    place = int(np.argmax(likeness))
    return place if place < size // 2 else place - size


@pytest.mark.parametrize(("container", "codec"), LOSSY)
def test_a_sound_begins_where_the_one_began_that_was_encoded(container: str, codec: str) -> None:
    begins, longer = LOSSY[container, codec]
    found = read(encoded(container, codec, SOUND))
    assert delay(found, SOUND) == begins
    assert 0 <= len(found) - len(SOUND) <= longer
    whole = found[begins : begins + len(SOUND)]
    assert np.corrcoef(whole[:, 0], SOUND[: len(whole), 0])[0, 1] > 0.9


@pytest.mark.parametrize(("container", "codec"), LOSSLESS)
def test_a_codec_without_loss_gives_every_sample(container: str, codec: str) -> None:
    np.testing.assert_array_equal(read(encoded(container, codec, SOUND)), SOUND)


def test_a_path_gives_the_windows_of_the_wav_file_that_it_was_made_from(tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(encoded("ipod", "alac", SOUND))
    soundfile.write(tmp_path / "a.wav", SOUND, RATE, subtype="PCM_16")
    format = WindowFormat(16000, 8000, 8000)
    ours, theirs = (list(windows_of(tmp_path / name, [format])) for name in ("a.m4a", "a.wav"))
    assert [window[:2] for _, window in ours] == [window[:2] for _, window in theirs]
    for (_, our), (_, their) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our.samples, their.samples)
    with (tmp_path / "a.m4a").open("rb") as file:
        assert count_windows(file, format) is None  # a dry run estimates it


@pytest.mark.parametrize(
    ("container", "options"),
    [("mp4", {}), ("mp4", {"movflags": "faststart"}), ("mp4", {"movflags": "frag_keyframe"}), ("matroska", {}), ("adts", {})],
)
@pytest.mark.parametrize("share", [0.98, 0.5, 0.05])
def test_a_file_that_was_cut_off_is_refused(container: str, options: dict[str, str], share: float) -> None:
    if options.get("movflags") == "frag_keyframe":
        options = options | {"frag_duration": "300000"}
    data = encoded(container, "aac", SOUND, options=options)
    with pytest.raises(MediaError, match=r"the file was cut off|the file ends within an AAC frame"):
        read(data[: int(len(data) * share)])


def test_a_recording_without_its_index_says_so() -> None:
    data = encoded("mp4", "aac", SOUND)
    with pytest.raises(MediaError, match=r"no index \(moov\)"):
        read(data[: data.index(b"moov") - 4])


def test_boxes_that_are_nested_deeply_are_called_damage() -> None:
    inner = b""
    for _ in range(5000):
        inner = (len(inner) + 8).to_bytes(4, "big") + b"traf" + inner
    boxes = ((b"ftyp", b"isom\0\0\2\0isom"), (b"moov", b""), (b"moof", inner))
    data = b"".join((len(content) + 8).to_bytes(4, "big") + kind + content for kind, content in boxes)
    with pytest.raises(MediaError, match=r"the file is damaged at byte \d+$"):
        read(data)


def test_the_sound_of_a_video_is_read_and_a_video_without_sound_says_so() -> None:
    for container in ("mp4", "matroska"):
        assert delay(read(encoded(container, "aac", SOUND, has_video=True)), SOUND) == 0
    with pytest.raises(MediaError, match="the file has no sound: none of its tracks is audio"):
        read(encoded("mp4", "aac", has_video=True))


@pytest.mark.parametrize(("default", "taken"), [(None, 0), (0, 0), (1, 1)])
def test_of_several_tracks_it_is_the_default_one_or_the_first(default: int | None, taken: int) -> None:
    tracks = [sound(0.5, seed=1), sound(0.5, seed=2)]
    np.testing.assert_array_equal(read(encoded("matroska", "flac", *tracks, default=default)), tracks[taken])


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_gap_in_the_times_is_refused_with_its_place(container: str) -> None:
    data = encoded(container, "pcm_s16le" if container == "matroska" else "aac", sound(3), skip=(60, 90))
    with pytest.raises(MediaError, match=r"the times of the file jump by 0\.6 s after 1\.[23] s of sound") as raised:
        read(data)
    assert 50 * 1024 < (raised.value.offset or 0) < 70 * 1024


def test_a_webm_whose_sound_ends_before_the_length_that_it_tells_is_refused() -> None:
    data = encoded("webm", "libopus", SOUND)
    place = data.index(bytes.fromhex("448988")) + 3  # Duration, a float64 in ms
    (told,) = struct.unpack(">d", data[place : place + 8])
    longer = data[:place] + struct.pack(">d", told + 900) + data[place + 8 :]
    assert len(read(data)) == len(SOUND)
    with pytest.raises(MediaError, match=r"the sound ends 0\.9 s before the length that the file tells"):
        read(longer)


def test_a_change_of_the_sample_rate_is_refused_with_its_place() -> None:
    first, second = (encoded("adts", "aac", sound(1), rate=rate) for rate in (48000, 44100))
    with pytest.raises(MediaError, match=r"the sound goes on at 44100 Hz with 1 channels, not at 48000 Hz") as raised:
        read(first + second)
    assert RATE <= (raised.value.offset or 0) <= RATE + 4096


def test_bytes_between_the_frames_of_raw_aac_are_refused_and_tags_are_not() -> None:
    data = encoded("adts", "aac", SOUND)
    tag = b"ID3\4\0\0\0\0\0\x10" + bytes(16)
    np.testing.assert_array_equal(read(tag + data + b"TAG" + bytes(125)), read(data))
    with pytest.raises(MediaError, match="belong to no AAC frame"):
        read(data + b"rubbish" * 30)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(encoded("mp4", "aac", sound(5)))
    with path.open("rb") as file, opened_sound(file) as opened:
        blocks = opened.blocks()
        next(blocks)
        path.write_bytes(path.read_bytes() + bytes(100))
        with pytest.raises(MediaError, match="changed while it was read"):
            list(blocks)


def test_a_fault_for_which_a_decoder_has_no_name_is_called_damage() -> None:
    """FFmpeg calls it "Operation not permitted", as if the file could not be read."""
    whole, rng, said = encoded("mp4", "aac", sound(1.0)), random.Random(0), set()
    for at in range(len(whole) // 4, len(whole) // 2, len(whole) // 64):
        try:
            read(whole[:at] + rng.randbytes(60) + whole[at + 60 :])
        except MediaError as error:
            said.add(str(error).partition("frames ")[2])
    assert "(it is damaged: its decoder gives no other reason)" in said
    assert not [reason for reason in said if "permitted" in reason]


def test_random_damage_gives_sound_or_a_reason() -> None:
    files = [
        encoded(container, codec, sound(0.3, channels=2))
        for container, codec in (("mp4", "aac"), ("matroska", "libopus"), ("adts", "aac"), ("avi", "pcm_s16le"))
    ]
    rng = random.Random(0)
    outcomes = {True: 0, False: 0}
    for number in range(200):
        try:
            found = read(damaged(files[number % len(files)], rng))
        except MediaError as error:
            assert str(error)
            outcomes[False] += 1
        else:
            assert np.isfinite(found).all()
            outcomes[True] += 1
    assert min(outcomes.values()) > 10
