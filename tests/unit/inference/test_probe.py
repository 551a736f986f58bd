"""repository/probe.py: probe.npz is read as it was written, or refused."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from avizor_inference.checks.check_version import check_model
from avizor_inference.digests import sha256_of_file
from avizor_inference.errors import VersionRefused
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.probe import Probe


def test_a_probe_is_read_as_it_was_written(tmp_path: Path) -> None:
    items = np.arange(6, dtype=np.uint8).reshape(2, 3)
    outputs = {"score": np.ones((2, 1), np.float32), "items": np.zeros((2, 2), np.float32)}
    read = Probe.read(tmp_path / "probe.npz", Probe(items, outputs).write(tmp_path / "probe.npz"))
    assert read.items.dtype == np.uint8
    np.testing.assert_array_equal(read.items, items)
    assert list(read.outputs) == ["score", "items"]
    for name, values in outputs.items():
        np.testing.assert_array_equal(read.outputs[name], values)


def test_a_file_that_is_missing_or_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "probe.npz"
    with pytest.raises(VersionRefused, match=r"probe\.npz: cannot be read \(no such file or directory\)"):
        Probe.read(path, "0" * 64)
    Probe(np.zeros((1, 2)), {}).write(path)
    with pytest.raises(VersionRefused, match="is not the file of its manifest"):
        Probe.read(path, "0" * 64)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "probe.npz"
    np.savez(path, items=np.array([print], dtype=object))
    with pytest.raises(VersionRefused, match="holds no probe items"):
        Probe.read(path, sha256_of_file(path))
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(VersionRefused, match="holds no probe items"):
        Probe.read(path, sha256_of_file(path))


def test_models_check_notices_a_damaged_probe(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "digits", tmp_path / "digits")
    path = tmp_path / "digits" / "1" / "probe.npz"
    assert check_model(ModelRepository(tmp_path), "digits") == []
    path.write_bytes(path.read_bytes()[:-1])
    (problem,) = check_model(ModelRepository(tmp_path), "digits")
    assert "probe.npz is not the file of its manifest" in problem
