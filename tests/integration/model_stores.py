"""Run `avizor models push` and `pull` over a server of S3, and look at what is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
from click.testing import CliRunner, Result
from support.object_stores import S3

from avizor_inference.cli import models as command
from avizor_inference.digests import sha256_of_file
from avizor_inference.errors import AvizorError
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.calibration_store import activate, store
from avizor_inference.repository.config_text import with_digests
from avizor_inference.repository.models import ModelVersion


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=True)


def said(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def refusal(*words: object) -> AvizorError:
    error = run(*words).exception
    assert isinstance(error, AvizorError), error
    return error


def push(models: Path, s3: S3, *words: object) -> str:
    return said("push", *words, "--to", s3.url("kept"), "--models", models)


def pull(models: Path, s3: S3, *words: object) -> str:
    return said("pull", *words, "--from", s3.url("kept"), "--models", models)


def files(folder: Path) -> dict[str, bytes]:
    """The content of each file that a reader sees, by its path."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path): (folder / path).read_bytes() for path in paths if not any(part.startswith(".") for part in path.parts)}


def add_version(own: Path, models: Path, number: int, text: str = "") -> None:
    """Add a version of `digits` to a repository, with the same network. text: in the graph, so that its digest is another."""
    folder = models / "digits" / str(number)
    shutil.copytree(own / "digits" / "1", folder)
    graph = onnx.load(folder / "model.onnx")
    graph.doc_string = text or f"version {number}"
    onnx.save(graph, folder / "model.onnx")
    sha256, size = sha256_of_file(folder / "model.onnx"), (folder / "model.onnx").stat().st_size
    changed = {"version": number, "model_sha256": sha256, "model_bytes": size}
    manifest = json.loads((folder / "manifest.json").read_text()) | changed
    (folder / "manifest.json").write_text(json.dumps(manifest))
    config = models / "digits" / "config.pbtxt"
    if not config.exists():
        shutil.copy(own / "digits" / "config.pbtxt", config)
        shutil.copy(own / "digits" / "labels.txt", config.parent)
    config.write_text(with_digests(config.read_text(), {number: sha256}, "config.pbtxt"))


def keys(s3: S3) -> dict[str, str]:
    """The objects of the store, with what tells one content from another."""
    return {each["Key"]: each["ETag"] for each in s3.client.list_objects_v2(Bucket=s3.bucket).get("Contents", [])}


def other_calibration(version: ModelVersion, score: float) -> Calibration:
    """Another calibration of the version, which becomes the active one."""
    (first,) = version.calibrations()
    made = Calibration.model_validate(first.model_dump() | {"sources": {"a": tuple((score + n,) for n in range(30))}})
    store(version.folder, made)
    activate(version.folder, made)
    return made
