"""The features of a training are within a bound of memory, whatever the folder holds, and come from items chosen by chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.normal_folders import write_rows, write_signals

from avizor_export.fitting import sample
from avizor_export.fitting.folder import NormalItems, Where
from avizor_export.fitting.sample import features, sample_of
from avizor_inference.items.input_spec import NumberColumn, SignalInput, TableFrontEnd, TableInput

ROWS = TableInput(front_end=TableFrontEnd(columns=(NumberColumn(name="number"), NumberColumn(name="pieces"))))
SIGNAL = SignalInput(channels=2, window_samples=16, hop_samples=16)


def test_of_more_rows_than_fit_a_random_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = NormalItems(Where(write_rows(tmp_path / "rows.csv", 1000)), ROWS)
    monkeypatch.setattr(sample, "MOST_BYTES", 100 * 2 * 4)
    chosen = sample_of(items, range(1000), ROWS, seed=3)
    assert len(chosen) == 100
    assert chosen == sample_of(items, range(1000), ROWS, seed=3) != sample_of(items, range(1000), ROWS, seed=4)
    numbers = features(items, chosen, ROWS)[:, 0].numpy()
    assert sorted(numbers) == sorted(1000.0 + np.array(chosen))


def test_recordings_are_read_until_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = NormalItems(Where(write_signals(tmp_path, 200, steps=64)), SIGNAL)
    whole = features(items, range(200), SIGNAL)
    assert whole.shape == (200 * 4, 2, 16)
    monkeypatch.setattr(sample, "MOST_BYTES", 100 * 2 * 16 * 4)
    part = features(items, range(200), SIGNAL)
    assert 100 <= len(part) <= 100 + 64 + 4
    assert torch.equal(part, whole[: len(part)])  # both are in the same random order


def test_a_long_recording_gives_a_part_of_its_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = NormalItems(Where(write_signals(tmp_path, 2, steps=16 * 100)), SIGNAL)
    monkeypatch.setattr(sample, "MOST_WINDOWS", 10)
    assert len(features(items, range(2), SIGNAL)) == 20
