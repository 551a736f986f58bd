"""Publishing a version: staged beside the models under a hidden name, flushed to disk, then shown by one rename.

Whoever is killed at any instant leaves either the old state or the new one, and at most a hidden folder that the next
publication under that name removes. A lock per name keeps two publications apart.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from avizor_inference.repository import ModelRepository


@dataclass(frozen=True)
class Staging:
    """A repository of its own, holding just the version that is being made: `root/<name>/<version>/`."""

    root: Path
    name: str
    version: int

    @property
    def model_folder(self) -> Path:
        """Where config.pbtxt and labels.txt go."""
        return self.root / self.name

    @property
    def version_folder(self) -> Path:
        """Where model.onnx and manifest.json go."""
        return self.model_folder / str(self.version)


@contextmanager
def staging(models: Path, name: str) -> Iterator[Staging]:
    """Hold the name's lock and give a clean staging folder for its next version; gone again if it is not published."""
    models.mkdir(parents=True, exist_ok=True)
    with (models / f".avizor-lock-{name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go by the kernel, however this process ends
        root = models / f".avizor-staging-{name}"
        shutil.rmtree(root, ignore_errors=True)
        stage = Staging(root, name, _next_version(models, name))
        stage.version_folder.mkdir(parents=True)
        try:
            yield stage
        finally:
            shutil.rmtree(root, ignore_errors=True)


def publish(stage: Staging, models: Path) -> Path:
    """Show the staged version to readers; return its folder."""
    _flush(stage.root)
    target = models / stage.name
    if not target.exists():
        stage.model_folder.rename(target)
    else:
        stage.version_folder.rename(target / str(stage.version))
        for path in stage.model_folder.iterdir():  # config.pbtxt and labels.txt, each whole or not at all
            os.replace(path, target / path.name)
        _flush_folder(target)
    _flush_folder(models)
    return target / str(stage.version)


def _next_version(models: Path, name: str) -> int:
    if not (models / name).exists():
        return 1
    return max(ModelRepository(models).versions(name), default=0) + 1


def _flush(folder: Path) -> None:
    for path, _, files in os.walk(folder):
        for file in files:
            with (Path(path) / file).open("rb") as opened:
                os.fsync(opened.fileno())
        _flush_folder(Path(path))


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
