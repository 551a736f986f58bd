"""Headers that lie, files that were cut off or never finished: all that is in a file is heard, or it is said why not."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import pytest
import soundfile

from avizor_inference.errors import MediaError
from avizor_inference.items.audio import AudioFile

RATE = 16000
FRAMES = 48000


def sound(frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    noise = 0.05 * np.random.default_rng(seed).standard_normal(frames)
    return (0.3 * np.sin(np.arange(frames) / 7) + noise).astype(np.float32)


def encoded(kind: str, subtype: str | None = None, samples: np.ndarray | None = None, rate: int = RATE, **how: object) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound() if samples is None else samples, rate, format=kind, subtype=subtype, **how)
    return buffer.getvalue()


def frames_of(data: bytes) -> int:
    with AudioFile(io.BytesIO(data)) as audio:
        return sum(map(len, audio.blocks()))


def samples_of(data: bytes) -> np.ndarray:
    with AudioFile(io.BytesIO(data)) as audio:
        return np.concatenate(list(audio.blocks()))


def patched(data: bytes, at: int, field: bytes) -> bytes:
    return data[:at] + field + data[at + len(field) :]


def without_samples(flac: bytes) -> bytes:
    """With 0 in STREAMINFO, which means that the number of samples is unknown."""
    return patched(patched(flac, 21, bytes([flac[21] & 0xF0])), 22, bytes(4))


ID3V2 = b"ID3\4\0\0\0\0\0\x10" + bytes(16)
ID3V1 = b"TAG" + b"x" * 125
CHUNKED = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "NIST"]


@pytest.mark.parametrize("kind", CHUNKED)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "ALAW"])
def test_a_file_that_is_whole_is_heard_whole(kind: str, subtype: str) -> None:
    assert frames_of(encoded(kind, subtype)) == FRAMES


@pytest.mark.parametrize("kind", CHUNKED)
@pytest.mark.parametrize("subtype", ["PCM_16", "ALAW"])
def test_a_file_that_was_cut_off_is_not_taken_for_a_short_one(kind: str, subtype: str) -> None:
    whole = encoded(kind, subtype)
    with pytest.raises(MediaError, match=r"was cut off: its \w+ header says \d+ bytes of sound, and \d+ are there"):
        frames_of(whole[: len(whole) * 2 // 3])


@pytest.mark.parametrize("claimed", [2_100_000_000, 2_200_000_000, 3_000_000_000, 4_200_000_000])
def test_a_wav_of_gigabytes_that_was_cut_off_is_not_taken_for_an_unfinished_one(claimed: int) -> None:
    whole = encoded("WAV", "PCM_16")
    with pytest.raises(MediaError, match=f"was cut off: its WAV header says {claimed} bytes"):
        frames_of(patched(whole, whole.index(b"data") + 4, struct.pack("<I", claimed)))


def test_thousands_of_chunks_before_the_sound_are_refused() -> None:
    whole = encoded("WAV", "PCM_16")
    with pytest.raises(MediaError, match="more than 10000 chunks before its sound"):
        frames_of(whole[:12] + (b"junk" + bytes(4)) * 20_000 + whole[12:])
    assert frames_of(whole[:12] + (b"junk" + bytes(4)) * 100 + whole[12:]) == FRAMES


@pytest.mark.parametrize("kind", CHUNKED)
def test_sound_behind_what_the_header_accounts_for_is_not_left_out_in_silence(kind: str) -> None:
    with pytest.raises(MediaError, match="it was never finished, or the file was appended to"):
        frames_of(encoded(kind, "PCM_16") + b"\1\2" * 5000)


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
@pytest.mark.parametrize("riff", [0, 8, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_a_wav_whose_recorder_lost_power_or_wrote_into_a_pipe_is_read_to_its_end(claimed: int, riff: int, subtype: str) -> None:
    whole = encoded("WAV", subtype)
    cut = patched(patched(whole, 4, struct.pack("<I", riff)), whole.index(b"data") + 4, struct.pack("<I", claimed))
    np.testing.assert_array_equal(samples_of(cut), samples_of(whole))


def test_an_unfinished_wav_of_big_endian_is_read_to_its_end() -> None:
    whole = encoded("WAV", "PCM_16", endian="BIG")
    assert whole.startswith(b"RIFX")
    assert frames_of(patched(whole, whole.index(b"data") + 4, bytes(4))) == FRAMES


def test_an_unfinished_recording_of_silence_is_silence_and_not_nothing() -> None:
    whole = encoded("WAV", "PCM_16", np.zeros(FRAMES, np.float32))
    assert frames_of(patched(whole, whole.index(b"data") + 4, bytes(4))) == FRAMES


def test_a_wav_without_a_sample_holds_none() -> None:
    with pytest.raises(MediaError, match="holds no samples"):
        frames_of(encoded("WAV", "PCM_16", sound(0)))
    with pytest.raises(MediaError, match="holds no samples"):
        frames_of(encoded("WAV", "PCM_16", sound(0)) + b"LIST" + struct.pack("<I", 10) + bytes(10))


@pytest.mark.parametrize(
    "after",
    [b"LIST" + struct.pack("<I", 10) + b"\1" * 10, ID3V1, bytes(5000), b"\1", b"LIST" + struct.pack("<I", 3) + b"abc\0"],
)
@pytest.mark.parametrize("frames", [FRAMES, FRAMES - 1])
def test_what_follows_the_sound_of_a_wav_may_be_chunks_tags_or_padding(after: bytes, frames: int) -> None:
    whole = encoded("WAV", "PCM_U8", sound(frames))
    unpadded = whole[: whole.index(b"data") + 8 + frames]  # some writers leave out the byte that makes the size even
    assert frames_of(whole + after) == frames
    assert frames_of(unpadded + after) == frames


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "CAF"])
def test_two_files_in_a_row_are_not_taken_for_one(kind: str) -> None:
    whole = encoded(kind, "PCM_16")
    with pytest.raises(MediaError, match=r"another file begins behind the sound|never finished, or the file was appended to"):
        frames_of(whole + whole)


def test_two_chunks_of_sound_are_refused() -> None:
    with pytest.raises(MediaError, match="more than one chunk of sound"):
        frames_of(encoded("WAV") + b"data" + struct.pack("<I", 1000) + b"\1" * 1000)


def test_sizes_that_a_format_has_for_unknown_are_read_to_the_end() -> None:
    au, caf = encoded("AU", "PCM_16"), encoded("CAF", "PCM_16")
    assert frames_of(patched(au, 8, b"\xff" * 4)) == FRAMES
    assert frames_of(patched(caf, caf.index(b"data") + 4, b"\xff" * 8)) == FRAMES


@pytest.mark.parametrize("claimed", [0, 100, 2**31])
def test_an_aiff_is_as_long_as_its_sound_whatever_its_number_of_frames(claimed: int) -> None:
    whole = encoded("AIFF", "PCM_16")
    assert frames_of(patched(whole, whole.index(b"COMM") + 10, struct.pack(">I", claimed))) == FRAMES


def test_a_size_of_nine_exabytes_is_refused_at_once() -> None:
    caf, w64 = encoded("CAF", "PCM_16"), encoded("W64", "PCM_16")
    huge = patched(w64, w64.index(b"data\xf3\xac") + 16, struct.pack("<Q", 2**64 - 1))
    for data in (patched(caf, caf.index(b"data") + 4, struct.pack(">Q", 2**63)), huge):
        with pytest.raises(MediaError, match="was cut off"):
            frames_of(data)


def test_zeros_behind_a_w64_are_not_heard_as_sound() -> None:
    assert frames_of(encoded("W64", "PCM_16") + bytes(1000)) == FRAMES


def test_a_flac_of_unknown_length_is_decoded_whole() -> None:
    whole = encoded("FLAC")
    np.testing.assert_array_equal(samples_of(without_samples(whole)), samples_of(whole))


def test_a_flac_whose_header_says_too_few_samples_is_decoded_whole() -> None:
    whole = encoded("FLAC")
    assert frames_of(patched(without_samples(whole), 22, struct.pack(">I", 1000))) == FRAMES


def test_a_flac_whose_header_says_too_many_samples_is_a_part() -> None:
    with pytest.raises(MediaError, match=f"ends after {FRAMES} of 100000 frames"):
        frames_of(patched(without_samples(encoded("FLAC")), 22, struct.pack(">I", 100000)))


@pytest.mark.parametrize("known", [True, False])
def test_a_flac_that_is_cut_or_damaged_is_refused(known: bool) -> None:
    whole = encoded("FLAC") if known else without_samples(encoded("FLAC"))
    middle = len(whole) // 2
    for data in (whole[:middle], patched(whole, middle, b"\x55" * 50), whole + b"junk" * 99, whole + whole):
        with pytest.raises(MediaError):
            frames_of(data)


def test_tags_around_flac_and_mp3_are_no_sound() -> None:
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
    for kind in ("FLAC", "MP3"):
        whole = encoded(kind)
        assert frames_of(ID3V2 + ID3V2 + whole + ID3V1) == frames_of(whole)
        assert frames_of(whole + ape + ID3V1) == frames_of(whole)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_every_stream_of_an_ogg_chain_is_heard(subtype: str) -> None:
    chain = encoded("OGG", subtype) + encoded("OGG", subtype, sound(20000, seed=1)) + encoded("OGG", subtype, sound(9000, 2))
    assert frames_of(chain) == FRAMES + 29000
    with pytest.raises(MediaError, match="streams have different sample rates or channels"):
        frames_of(encoded("OGG", subtype) + encoded("OGG", subtype, rate=24000))


def test_an_empty_stream_at_the_beginning_of_a_chain_does_not_hide_the_others() -> None:
    assert frames_of(encoded("OGG", "VORBIS", sound(0)) + encoded("OGG", "VORBIS")) == FRAMES


def checksum(page: bytes) -> bytes:
    """Of an Ogg page, bit by bit as RFC 3533 has it."""
    crc = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return struct.pack("<I", crc)


def pages_of(data: bytes) -> list[bytes]:
    starts = [match.start() for match in re.finditer(b"OggS", data)]
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def with_field(page: bytes, at: int, field: bytes) -> bytes:
    """An Ogg page with another field, and the checksum that fits it."""
    page = patched(page, at, field)
    return patched(page, 22, checksum(page))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_file_that_is_a_part_is_refused(subtype: str) -> None:
    whole = encoded("OGG", subtype, np.concatenate([sound(seed=seed) for seed in range(8)]))
    pages = pages_of(whole)
    assert len(pages) > 8
    assert with_field(pages[4], 0, b"OggS") == pages[4]
    first, last = b"".join(pages[:5]), b"".join(pages[6:])
    for data, reason in (
        (whole[: len(whole) // 2], "ends within a page: it was cut off"),
        (b"".join(pages[:-1]), "no last page: the file was cut off, or never finished"),
        (first + last, "pages of the OGG stream are missing"),
        (b"".join(pages[2:]), "has no beginning"),
        (first + whole, "has no last page: it was cut off, or never finished"),
        (whole + b"junk" * 30, "no page begins there"),
        (first + patched(pages[5], 100, b"\x55" * 50) + last, "the checksum of a page is wrong"),
        (b"".join(pages[:-1]) + patched(pages[-1], 100, b"\x55" * 10), "the checksum of a page is wrong"),
        (b"".join(pages[:-1]) + with_field(pages[-1], 6, struct.pack("<q", 5)), "runs backwards"),
        (b"".join(pages[:-1]) + with_field(pages[-1], 6, struct.pack("<q", 2**60)), r"ends after \d+ of \d+ frames"),
        (first + with_field(pages[5], 14, b"abcd") + last, "several streams at once"),
    ):
        with pytest.raises(MediaError, match=reason):
            frames_of(data)


LOUD, QUIET = 0.3 * np.random.default_rng(0).standard_normal(96000), 1e-4 * np.random.default_rng(1).standard_normal(96000)


def mp3(parts: tuple[np.ndarray, ...] = (LOUD, QUIET), rate: int = RATE, channels: int = 1, mode: str = "VARIABLE") -> bytes:
    samples = np.concatenate(parts).astype(np.float32)[:, None].repeat(channels, axis=1)
    return encoded("MP3", "MPEG_LAYER_III", samples, rate, bitrate_mode=mode, compression_level=0.5)


def frame_starts(data: bytes) -> list[int]:
    """Positions of the frames of MPEG layer III, by the headers' fields."""
    rates = {0b11: (44100, 48000, 32000), 0b10: (22050, 24000, 16000)}
    kbits = {
        0b11: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        0b10: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    }
    starts, position = [], 0
    while position < len(data):
        starts.append(position)
        version, field = data[position + 1] >> 3 & 3, data[position + 2]
        scale = 144 if version == 0b11 else 72
        position += scale * kbits[version][field >> 4] * 1000 // rates[version][field >> 2 & 3] + (field >> 1 & 1)
    return starts


def untagged(data: bytes) -> bytes:
    """Without the first frame, in which the encoder wrote the number of the others."""
    return data[frame_starts(data)[1] :]


@pytest.mark.parametrize("parts", [(LOUD, QUIET), (QUIET, LOUD)], ids=["loud_quiet", "quiet_loud"])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_an_mp3_without_a_number_of_frames_is_heard_to_its_end(
    parts: tuple[np.ndarray, ...], rate: int, channels: int, mode: str
) -> None:
    whole = mp3(parts, rate, channels, mode)
    heard = samples_of(untagged(whole))
    samples = 1152 if rate > 32000 else 576
    assert abs(len(heard) - samples * (len(frame_starts(whole)) - 1)) <= 1152
    # Without the tag the encoder's delay is not taken off; nothing else differs.
    tagged = samples_of(whole)
    delay = next(
        shift for shift in range(4000) if np.allclose(heard[shift + 5000 : shift + 9000], tagged[5000:9000], atol=1e-4)
    )
    np.testing.assert_allclose(heard[delay : delay + 190000], tagged[:190000], atol=1e-3)


def test_an_mp3_with_its_tag_has_the_samples_that_were_encoded() -> None:
    assert len(samples_of(mp3())) == 192000


@pytest.mark.parametrize("between", [b"", ID3V1, ID3V2, ID3V1 + ID3V2])
def test_mp3_files_in_a_row_are_heard_all(between: bytes) -> None:
    whole = mp3()
    frames = 576 * 2 * len(frame_starts(whole))
    assert frames - 2000 < frames_of(whole + between + whole) <= frames


@pytest.mark.parametrize(
    "tag", [b"APETAGEX" + struct.pack("<II", 2000, 2**31) + bytes(16), b"ID3\4\0\0\x7a\0\0\0"], ids=["APE", "ID3"]
)
def test_sound_behind_a_tag_that_claims_more_than_there_is_is_not_left_out_in_silence(tag: bytes) -> None:
    with pytest.raises(MediaError, match=r"the tag at byte \d+ claims \d+ bytes, and \d+ are there"):
        frames_of(mp3() + tag + mp3())


@pytest.mark.parametrize("claimed", [0, 10])
def test_an_mp3_whose_tag_says_too_little_is_heard_to_its_end(claimed: int) -> None:
    whole = mp3()
    tag = max(whole.find(b"Xing"), whole.find(b"Info"))
    heard = frames_of(patched(whole, tag + 8, struct.pack(">I", claimed)))
    assert 192000 <= heard <= 576 * len(frame_starts(whole))


def test_an_mp3_that_is_cut_or_damaged_is_refused() -> None:
    for whole in (mp3(), untagged(mp3())):
        starts = frame_starts(whole)
        for data, reason in (
            (whole[: starts[100] + 7], "ends within an MP3 frame after 100 whole ones: it was cut off"),
            (whole[: starts[100]] + b"\x11" * 300 + whole[starts[100] :], f"damaged at byte {starts[100]}"),
            (whole + b"\x11" * 300, f"damaged at byte {len(whole)}"),
        ):
            with pytest.raises(MediaError, match=reason):
                frames_of(data)


def test_an_mp3_that_was_cut_between_two_frames_is_told_by_its_tag() -> None:
    whole = mp3()
    with pytest.raises(MediaError, match="the file was cut off: its tag says 336 MP3 frames, and 99 are there"):
        frames_of(whole[: frame_starts(whole)[100]])


def test_an_mp3_may_begin_within_a_frame_and_end_with_zeros() -> None:
    whole = mp3()
    assert frames_of(whole[frame_starts(whole)[3] + 5 :] + bytes(100000)) > 190000


@pytest.mark.parametrize(
    ("channels", "rate", "reason"),
    [(1024, RATE, "has 1024 channels; at most 64 are read"), (1, 1, "says 1 Hz; sound is read from 1000 Hz on")],
)
def test_what_a_header_claims_is_bounded(channels: int, rate: int, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        frames_of(encoded("WAV", "PCM_16", np.zeros((3, channels), np.float32), rate))


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 10000, b"RIFF", b"RIFF\0\0\0\0WAVE", b"\xff\xfb", b"OggS", b"fLaC", b".snd",
                                  b"caff", b"NIST_1A\n", b"NIST_1A\n   9999999\n", ID3V2, ID3V1, bytes(100000)])  # fmt: skip
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(MediaError):
        frames_of(data)


def test_formats_that_are_not_named_do_not_reach_their_decoders() -> None:
    for kind in ("VOC", "SVX", "IRCAM", "MAT5", "XI", "HTK", "PAF"):
        with pytest.raises(MediaError):
            frames_of(encoded(kind, "DPCM_16" if kind == "XI" else "PCM_16"))


class _Failing(io.BytesIO):
    """A disk that fails at a place."""

    def __init__(self, data: bytes, place: int) -> None:
        super().__init__(data)
        self._place = place

    def read(self, size: int | None = -1) -> bytes:
        if self._place <= self.tell() < self._place + 20000:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF"])
def test_a_disk_that_fails_is_not_the_end_of_the_file(kind: str) -> None:
    whole = encoded(kind, samples=np.concatenate([sound(seed=seed) for seed in range(20)]))
    with (
        pytest.raises(MediaError, match=r"reading failed after \d+ frames \(Input/output error\)"),
        AudioFile(_Failing(whole, len(whole) // 2)) as audio,
    ):
        list(audio.blocks())


@pytest.mark.parametrize("kind", [*CHUNKED, "FLAC", "OGG", "MP3"])
def test_no_damage_raises_anything_but_media_errors(kind: str) -> None:
    rng = np.random.default_rng(0)
    whole = encoded(kind, None if kind != "NIST" else "PCM_16", sound(4000))
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 400), 3):
            data[place] = rng.integers(0, 256)
        try:
            frames = frames_of(bytes(data[: rng.integers(1, len(data) + 1)]))
        except MediaError:
            continue
        assert frames <= 40000
