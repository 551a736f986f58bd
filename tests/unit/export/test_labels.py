"""networks/labels.py: files of labels."""

from pathlib import Path

import pytest
from torch import nn

from avizor_export.exporter import export_model
from avizor_export.networks.labels import read_labels
from avizor_export.request import ExportRequest
from avizor_inference.checks.check_version import check_model
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.models import ModelRepository


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"cat\ndog\n", ["cat", "dog"]),
        (b"cat\r\ndog\r\n\r\n\n", ["cat", "dog"]),
        (b"\xef\xbb\xbfcat\ndog", ["cat", "dog"]),
        (b"  guinea pig\t\ndog ", ["guinea pig", "dog"]),
        ("a\u2028b\nc\x0bd\n".encode(), ["a\u2028b", "c\x0bd"]),
    ],
    ids=["plain", "Windows", "byte order mark", "spaces", "other line breaks"],
)
def test_labels_are_what_is_seen(tmp_path: Path, content: bytes, labels: list[str]) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt") == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n\ndog\n", "line 2 is blank"),
        (b"\n\n", "holds no labels"),
        (
            b"th\xc3\xa9\ncaf\xe9\n",
            r"line 2 \(byte 0xe9\) is not in UTF-8; .* `iconv -f WINDOWS-1252 -t UTF-8 .*labels\.txt",
        ),
        (None, "No such file"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ExportError, match=message):
        read_labels(tmp_path / "labels.txt")


def test_labels_with_other_line_breaks_are_exported(tmp_path: Path) -> None:
    labels = ["a\u2028b", "c\x0bd", "e\x0cf", "g\x85h", "i\x1cj", "k\rl"]
    request = ExportRequest("m", "classify", TensorInput(name="x", item_shape=(4,)), labels=labels)
    version = export_model(nn.Linear(4, 6), request, tmp_path)
    assert version.manifest.labels == tuple(labels)
    assert check_model(ModelRepository(tmp_path), "m") == []
    (tmp_path / "m" / "labels.txt").write_text("\n".join([*labels[:-1], "other"]))
    (problem,) = check_model(ModelRepository(tmp_path), "m")
    assert "is not the manifest's 6 labels" in problem
