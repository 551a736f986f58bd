"""Publish a version: write it where no reader looks, flush it to disk, then make it visible by one rename.

A process killed at any moment leaves either the old state or the new one, and at most a hidden folder that the next
publication under that name removes. A lock per name keeps two publications apart.

Triton treats every folder of a repository as a model, hidden ones too, and does not start if it cannot load one. So the staging
folder is beside the repository. If nothing can be renamed from there (the repository is a separate mount, or its parent folder
is not writable), the staging folder is in the model's folder, where Triton reads only numbered folders. A first version has no
such folder yet: it is staged in a hidden folder of the repository.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from avizor_inference.durable_files import sync_folder, write_text
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import AvizorError, RepositoryError, VersionRefused
from avizor_inference.repository.models import ModelRepository
from avizor_inference.repository.triton_config import CONFIG_FILE, parse_config, serves_newest
from avizor_inference.repository.version_choice import choosing, chosen_version, with_choice
from avizor_inference.waiting_lock import waiting_lock


@dataclass(frozen=True)
class Staging:
    """Hold the place of a version that is being made: a separate repository, `root/<name>/<version>/`."""

    root: Path
    name: str
    version: int

    @property
    def model_folder(self) -> Path:
        """Return the folder of config.pbtxt and labels.txt."""
        return self.root / self.name

    @property
    def version_folder(self) -> Path:
        """Return the folder of model.onnx and manifest.json."""
        return self.model_folder / str(self.version)


@contextmanager
def staging(
    models: Path, name: str, version: int | None = None, error: type[AvizorError] = RepositoryError
) -> Iterator[Staging]:
    """Hold the name's lock and yield an empty staging folder for a version. It is removed after the block.

    version: None for the next one. error: is raised if the repository or the staging folder cannot be written.
    """
    try:
        models.mkdir(parents=True, exist_ok=True)
        models = models.resolve()
        with locked(models, name):
            yield from _stage(models, name, version)
    except OSError as refused:
        path = refused.filename2 or refused.filename or models  # of a rename, the place and not what is staged
        what_to_do = remedy(refused, "mend that, or move away what is there, and try again")
        raise error(f"{path}: {reason(refused)}; nothing was published under {name!r}: {what_to_do}") from refused


@contextmanager
def locked(models: Path, name: str) -> Iterator[None]:
    """Hold the name's lock during the block, so that no other process publishes under that name."""
    with waiting_lock(models / f".avizor-lock-{name}"):
        yield


@dataclass(frozen=True)
class Published:
    """Hold the folder of a version that was published, and the version whose choice (a rollback) it ended; None for none."""

    folder: Path
    ended: int | None = None


def publish(stage: Staging, models: Path) -> Published:
    """Make the staged version visible to readers.

    config.pbtxt is replaced before the version is renamed: it has the digests of the existing versions and of the new one, so
    that it is right before and after. A choice stays in it until the new version is there.
    """
    target = models / stage.name
    folder = target / str(stage.version)
    if not target.is_dir():
        _flush(stage.root)
        stage.model_folder.rename(target)
        sync_folder(models)
        return Published(folder)
    with choosing(target):
        staged = stage.model_folder / CONFIG_FILE
        text = staged.read_text(encoding="utf-8")
        if chosen := _chosen(target):
            staged.write_text(with_choice(text, chosen), encoding="utf-8")
        _flush(stage.root)
        for path in [path for path in stage.model_folder.iterdir() if path != stage.version_folder]:
            os.replace(path, target / path.name)  # each file completely or not at all
        sync_folder(target)
        stage.version_folder.rename(folder)
        sync_folder(target)
        if chosen is None or not serves_newest(parse_config(text, CONFIG_FILE), stage.version):
            return Published(folder)
        write_whole(target / CONFIG_FILE, text)
        return Published(folder, chosen)


def _chosen(target: Path) -> int | None:
    """Return which version of a published model was chosen, if its config.pbtxt is there and in order."""
    try:
        return chosen_version(target)
    except RepositoryError:
        return None


def earlier_digests(models: Path, name: str) -> dict[int, str]:
    """Return the sha256 of model.onnx by version, for the published versions whose manifest can be read."""
    digests: dict[int, str] = {}
    if not (models / name).is_dir():
        return digests
    repository = ModelRepository(models)
    for number in repository.versions(name):
        try:
            digests[number] = repository.version(name, number).manifest.model_sha256
        except VersionRefused:
            continue  # `avizor models check` reports it; a new version replaces it
    return digests


def write_whole(path: Path, text: str) -> None:
    """Write a file of a model whose name is locked. Readers see the old file or the new one, never a part."""
    write_text(path, text, path.with_name(f".{path.name}.new"))


def _stage(models: Path, name: str, version: int | None) -> Iterator[Staging]:
    beside, inside, hidden = _staging_folders(models, name)
    for folder in (beside, inside, hidden):
        if folder.is_dir():  # rmtree opens what is there, and waits for a pipe
            shutil.rmtree(folder, ignore_errors=True)  # left by a publication that was killed
    root = beside if _can_rename_into(beside, models, name) else inside if inside.parent.is_dir() else hidden
    stage = Staging(root, name, version or _next_version(models, name))
    try:
        stage.version_folder.mkdir(parents=True)
        yield stage
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _staging_folders(models: Path, name: str) -> tuple[Path, Path, Path]:
    """Return where a version may be staged: beside the repository, in the model's folder, hidden in the repository.

    Model names contain no @, so the staging folders of two repositories side by side differ.
    """
    beside = models.parent / f".avizor-staging-{name}@{models.name}"
    return beside, models / name / ".avizor-staging", models / f".avizor-staging-{name}"


def _next_version(models: Path, name: str) -> int:
    if not (models / name).is_dir():
        return 1
    return max(ModelRepository(models).versions(name), default=0) + 1


def _can_rename_into(folder: Path, models: Path, name: str) -> bool:
    """Tell whether a file in `folder` can be renamed into the repository, by trying: two mounts of one disk look the same."""
    probe, renamed = folder / "probe", models / f".avizor-probe-{name}"
    try:
        folder.mkdir()
        probe.touch()
        probe.rename(renamed)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        return False
    renamed.unlink()
    return True


def _flush(folder: Path) -> None:
    for path, _, files in os.walk(folder):
        for file in files:
            with (Path(path) / file).open("rb") as opened:
                os.fsync(opened.fileno())
        sync_folder(Path(path))
