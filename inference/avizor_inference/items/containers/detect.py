"""Detect the container of a sound file by its first bytes, and return the streams in it."""

from __future__ import annotations

import os
from typing import BinaryIO

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.au_nist import au_stream, nist_stream
from avizor_inference.items.containers.av_containers import AV_KINDS, INSTALL, av_container
from avizor_inference.items.containers.flac import flac_stream
from avizor_inference.items.containers.mpeg import mpeg_stream
from avizor_inference.items.containers.ogg import ogg_streams
from avizor_inference.items.containers.stream import Stream, read_at
from avizor_inference.items.containers.tags import after_id3v2
from avizor_inference.items.containers.wav_aiff_caf import chunk_stream, dialect_of

# Bytes of the longest mark by which a container is recognised.
_MARK = 16

# Suffixes of the files that are searched for in a folder. A file whose own path is given is read whatever its suffix.
AUDIO_SUFFIXES = frozenset({
    ".wav", ".wave", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".nist", ".sph", ".flac", ".ogg", ".oga",
    ".opus", ".mp3",
})  # fmt: skip
# Of these, the usual ones of containers whose samples can be read from any place on, unless their encoding prevents it.
SEEKABLE_SUFFIXES = AUDIO_SUFFIXES - {".nist", ".sph", ".ogg", ".oga", ".opus", ".mp3"}
KINDS = "WAV, RF64, W64, AIFF, AU, CAF, NIST SPHERE, FLAC, OGG (Vorbis, Opus, FLAC) and MP3"


def sound_streams(file: BinaryIO) -> list[Stream]:
    """Return the streams of a sound file, in order of time. Raises MediaError and OSError."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise MediaError("not an audio file that can be read (it is empty)")
    mark = read_at(file, 0, _MARK)
    if container := av_container(file):
        without = f"not an audio file that can be read without PyAV (it is {container.name})"
        raise MediaError(f"{without}: {INSTALL} where it is read")
    if dialect := dialect_of(mark):
        return [chunk_stream(file, size, dialect)]
    if mark.startswith(b"OggS"):
        return ogg_streams(file, size)
    if mark.startswith(b".snd"):
        return [au_stream(file, size)]
    if mark.startswith(b"NIST_1A"):
        return [nist_stream(file, size)]
    start = after_id3v2(file, 0)
    if read_at(file, start, 4) == b"fLaC":
        return [flac_stream(file, start, size)]
    if stream := mpeg_stream(file, start, size):
        return [stream]
    raise MediaError(f"not an audio file that can be read ({KINDS} are; {AV_KINDS} with PyAV)")
