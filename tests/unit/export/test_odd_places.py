"""A repository with something else in the place of a folder or a file: refused, with its name, and never waited for."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.model_names import check_name
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageInput
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import OVERRIDES_FILE

REQUEST = ExportRequest("digits", "classify", ImageInput(height=32, width=32, channels=1), labels=list("0123456789"))


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models / "digits", tmp_path / "models" / "digits")
    return tmp_path / "models"


def odd(place: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.touch()
    else:
        place.symlink_to("nowhere" if kind == "dangling" else place.name)


@pytest.mark.parametrize("kind", ["file", "pipe", "dangling", "loop"])
@pytest.mark.parametrize("place", ["models", "models/digits", ""])
def test_what_is_no_folder_is_named_before_any_work(tmp_path: Path, place: str, kind: str) -> None:
    there = tmp_path / "above" / place
    there.parent.mkdir(parents=True, exist_ok=True)
    odd(there, kind)
    with pytest.raises(ExportError, match=f"^{there} is there and is no folder; move it away, or name another --models or"):
        check_name("digits", tmp_path / "above" / "models")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        (OVERRIDES_FILE, "pipe", r"models/digits/config\.overrides\.pbtxt cannot be read \(it is a pipe or a device"),
        (OVERRIDES_FILE, "folder", r"models/digits/config\.overrides\.pbtxt cannot be read \(is a directory\); make it"),
        (
            "labels.txt",
            "folder",
            r"models/digits/labels\.txt: is a directory; nothing was published under 'digits': mend that,",
        ),
        ("../.avizor-lock-digits", "pipe", r"\.avizor-lock-digits: it is a pipe or a device, and no file; nothing was"),
        (".avizor-staging", "pipe", ""),
        ("2", "file", r"models/digits/2: not a directory; nothing was published under 'digits'"),
    ],
)
def test_what_is_no_file_of_its_kind_is_named(own: Path, name: str, kind: str, message: str) -> None:
    place = own / "digits" / name
    place.unlink(missing_ok=True)
    odd(place, kind)
    with pytest.raises(ExportError, match=message) if message else contextlib.nullcontext():
        export_model(LeNet(), REQUEST, own)
    assert ModelRepository(own).versions("digits") == ([1] if message else [1, 2])
