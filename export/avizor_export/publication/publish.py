"""Publishing a version: staged out of readers' sight, flushed to disk, then shown by one rename.

Whoever is killed at any instant leaves either the old state or the new one, and at most a hidden folder that the next
publication under that name removes. A lock per name keeps two publications apart.

Triton takes every folder of a repository for a model, hidden ones too, and one that it cannot load keeps it from starting. So
the staging folder lies beside the repository. Where that cannot be renamed from (the repository is a mount of its own, or the
folder around it is not writable) it lies in the model's own folder, of which Triton reads numbered folders alone; only a first
version has none, and then lies hidden in the repository until it is published.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from avizor_inference.durable_files import sync_folder, write_text
from avizor_inference.errors import ExportError, VersionRefused
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import CONFIG_FILE


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
    """Hold the name's lock and give a clean staging folder for its next version; gone again if it is not published.

    Raises ExportError where the repository, or in the block the staging folder, cannot be written.
    """
    try:
        models.mkdir(parents=True, exist_ok=True)
        models = models.resolve()
        with locked(models, name):
            yield from _stage(models, name)
    except OSError as error:
        where = error.filename or models
        raise ExportError(f"{where}: {error.strerror or error}; nothing was published under {name!r}") from error


@contextmanager
def locked(models: Path, name: str) -> Iterator[None]:
    """Hold the name's lock: nobody else publishes under it meanwhile."""
    with (models / f".avizor-lock-{name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go by the kernel, however this process ends
        yield


def publish(stage: Staging, models: Path) -> Path:
    """Show the staged version to readers; return its folder.

    config.pbtxt goes before the version: it has the digests of the versions that are there and of the one that comes, and so
    holds before and after.
    """
    _flush(stage.root)
    target = models / stage.name
    if not target.is_dir():
        stage.model_folder.rename(target)
    else:
        files = [path for path in stage.model_folder.iterdir() if path != stage.version_folder]
        for path in sorted(files, key=lambda path: path.name == CONFIG_FILE):  # after the file that keeps the one before
            os.replace(path, target / path.name)  # each whole or not at all
        sync_folder(target)
        stage.version_folder.rename(target / str(stage.version))
        sync_folder(target)
    sync_folder(models)
    return target / str(stage.version)


def earlier_digests(models: Path, name: str) -> dict[int, str]:
    """sha256 of model.onnx by version, of the versions that are published and have a manifest that can be read."""
    digests: dict[int, str] = {}
    if not (models / name).is_dir():
        return digests
    repository = ModelRepository(models)
    for number in repository.versions(name):
        try:
            digests[number] = repository.version(name, number).manifest.model_sha256
        except VersionRefused:
            continue  # `avizor models check` names it; a new version is the mend
    return digests


def write_whole(path: Path, text: str) -> None:
    """Write a file of a model that is locked: readers see it whole, as it was or as it is now."""
    write_text(path, text, path.with_name(f".{path.name}.new"))


def _stage(models: Path, name: str) -> Iterator[Staging]:
    beside, inside, hidden = _places(models, name)
    for place in (beside, inside, hidden):
        shutil.rmtree(place, ignore_errors=True)  # of a publication that was killed
    root = beside if _renames_into(beside, models, name) else inside if inside.parent.is_dir() else hidden
    stage = Staging(root, name, _next_version(models, name))
    try:
        stage.version_folder.mkdir(parents=True)
        yield stage
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _places(models: Path, name: str) -> tuple[Path, Path, Path]:
    """Where a version may be staged: beside the repository, in the model's folder, hidden in the repository.

    No name of a model holds an @, so two repositories side by side do not meet.
    """
    beside = models.parent / f".avizor-staging-{name}@{models.name}"
    return beside, models / name / ".avizor-staging", models / f".avizor-staging-{name}"


def _next_version(models: Path, name: str) -> int:
    if not (models / name).is_dir():
        return 1
    return max(ModelRepository(models).versions(name), default=0) + 1


def _renames_into(place: Path, models: Path, name: str) -> bool:
    """Whether what lies in `place` can be renamed into the repository: tried, since two mounts of one disk look like one."""
    probe, shown = place / "probe", models / f".avizor-probe-{name}"
    try:
        place.mkdir()
        probe.touch()
        probe.rename(shown)
    except OSError:
        shutil.rmtree(place, ignore_errors=True)
        return False
    shown.unlink()
    return True


def _flush(folder: Path) -> None:
    for path, _, files in os.walk(folder):
        for file in files:
            with (Path(path) / file).open("rb") as opened:
                os.fsync(opened.fileno())
        sync_folder(Path(path))
