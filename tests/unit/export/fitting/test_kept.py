"""fitting/kept.py: what `avizor fit` keeps beside a version."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import JsonValue

from avizor_export.architectures.catalogue import build
from avizor_export.exporter import export_model
from avizor_export.fitting.kept import KEPT_FILE, Kept, read_kept
from avizor_export.request import ExportRequest
from avizor_inference.checks.check_version import check_model
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.models import ModelRepository, ModelVersion

RECORD: dict[str, JsonValue] = {"spec": "fc4bn fc", "seed": 3, "classes": ["a", "b"]}


def published(models: Path, kept: dict[str, bytes]) -> ModelVersion:
    network = build("fc4 fc", 2, (5,)).eval()
    asked = ExportRequest("m", "classify", TensorInput(item_shape=(5,)), labels=["a", "b"], kept=kept)
    return export_model(network, asked, models)


def test_what_was_kept_is_read_as_it_was(tmp_path: Path) -> None:
    network = build("fc4bn fc", 2, (5,))
    version = published(tmp_path, Kept(RECORD, network.state_dict()).files())
    kept = read_kept(version)
    assert kept.record == RECORD
    assert kept.tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(kept.tensors[name], value) for name, value in network.state_dict().items())
    assert check_model(ModelRepository(tmp_path), "m") == []


def test_a_version_that_was_not_fitted_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="version 1 of 'm' was not made by `avizor fit`"):
        read_kept(published(tmp_path, {}))


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: bytes) -> None:
    version = published(tmp_path, {KEPT_FILE: damage})
    with pytest.raises(ExportError, match=rf"{KEPT_FILE}: cannot be read"):
        read_kept(version)
