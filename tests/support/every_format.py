"""Make a small valid file in each format that items may have."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from support.encoded_sounds import encoded
from support.signals import SUFFIXES, vibration, write_signal
from support.sounds import SAMPLE_RATE, tone

PICTURES = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
# Format and subtype as libsndfile names them.
SOUNDS = (
    *(("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16")),
    *(("AU", "PCM_16"), ("CAF", "PCM_16"), ("NIST", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")),
    ("MP3", None),
)


@cache
def files() -> dict[str, dict[str, bytes]]:
    """Return by the field of an Item what it may hold: the format, and a file in it."""
    return {"image": dict(_pictures()), "audio": dict(_sounds()), "signal": dict(_signals())}


def _pictures() -> list[tuple[str, bytes]]:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 3)).astype(np.uint8)
    made = []
    for kind, mode in [*((kind, "RGB") for kind in PICTURES), ("PNG", "P"), ("PNG", "I;16"), ("TIFF", "L")]:
        buffer = io.BytesIO()
        picture = Image.fromarray(pixels)
        grey = picture.convert("L")
        chosen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)
        chosen.save(buffer, kind)
        made.append((f"{kind} {mode}", buffer.getvalue()))
    return made


def _sounds() -> list[tuple[str, bytes]]:
    samples = tone(0.8, seed=7)
    return [(f"{kind} {subtype}", encoded(kind, subtype, samples, SAMPLE_RATE)) for kind, subtype in SOUNDS]


def _signals() -> list[tuple[str, bytes]]:
    with TemporaryDirectory() as folder:
        paths = [write_signal(Path(folder, f"signal{suffix}"), vibration(400, seed=100)) for suffix in SUFFIXES]
        return [(path.suffix, path.read_bytes()) for path in paths]
