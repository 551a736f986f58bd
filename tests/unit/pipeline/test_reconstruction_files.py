"""sinks/reconstruction_files.py: which items of a shard get a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avizor_inference.items import wav_writer
from avizor_inference.items.dataset import Entry
from avizor_inference.items.kinds.audio import AudioInput
from avizor_inference.items.kinds.base import Span
from avizor_inference.items.kinds.sound_front_ends import WaveformFrontEnd
from avizor_pipeline.sinks.reconstruction_files import ReconstructionFiles, begin_folder

SOUND = AudioInput(sample_rate=8000, window_samples=100, hop_samples=100, front_end=WaveformFrontEnd())


def test_a_sound_that_is_too_long_for_a_wav_has_no_file_though_it_is_the_last_of_its_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wav_writer, "_WAV_BYTES", 2 * 250)
    begin_folder(tmp_path)
    files = ReconstructionFiles(tmp_path)
    for uri, windows in (("long.wav", 3), ("good.wav", 2), ("last.wav", 3)):
        spans = [Span(0, 100 * number, 100) for number in range(windows)]
        files.add("m", SOUND, Entry(uri, uri, "a", 1, 1), spans, np.zeros((windows, 1, 100), np.float32))
    files.close(["m"], ())
    assert [files.name("m", f"{name}.wav") is not None for name in ("long", "good", "last")] == [False, True, False]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
