"""Encode sounds in memory, for tests that cut or damage the files."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from avizor_inference.items.audio_file import AudioFile

RATE = 16000
FRAMES = 48000

ID3V2 = b"ID3\4\0\0\0\0\0\x10" + bytes(16)
ID3V1 = b"TAG" + b"x" * 125
CHUNKED = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "NIST"]


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
