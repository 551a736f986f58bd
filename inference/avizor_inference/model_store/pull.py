"""Copy a version of a model from an object store into a repository, where it appears by one rename, as an export does."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path, PurePath
from typing import NamedTuple

from avizor_inference.checks.check_version import check_version
from avizor_inference.errors import ModelNotFound, RepositoryError
from avizor_inference.items.object_path import ObjectPath
from avizor_inference.model_store.active import active_at
from avizor_inference.model_store.stored_model import FILE, StoredModel, in_words
from avizor_inference.repository.calibration import ID_PATTERN, Calibration
from avizor_inference.repository.calibration_store import (
    ACTIVE_FILE,
    CALIBRATIONS_FOLDER,
    ActiveCalibrations,
    activate,
    calibration_path,
    read_active,
    store,
)
from avizor_inference.repository.config_text import with_digests
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.publication import Staging, earlier_digests, publish, staging
from avizor_inference.repository.triton_config import CONFIG_FILE, LABELS_FILE, OVERRIDES_FILE
from avizor_inference.repository.version_choice import read_text, without_choice

_CALIBRATION = ".json"


class Pulled(NamedTuple):
    """Says what was copied. is_new: the version itself; else it was here. calibrations: that were not here.

    notes: what may surprise.
    """

    version: ModelVersion
    is_new: bool
    calibrations: int
    notes: tuple[str, ...]


def pull(stored: StoredModel, version: int | None, models: Path) -> Pulled:
    """Bring a version of a stored model into a repository, which is made if it is missing, or its new calibrations.

    version: None for the one that the store's config.pbtxt serves. The version is checked before it is visible. A model that is
    here keeps its config.pbtxt. Raises ModelNotFound, RepositoryError, and changes nothing then.
    """
    with in_words(stored.place):
        number, name = stored.chosen(version), stored.place.name
        manifest = stored.versions[number]
    with staging(models, name, number) as staged:
        here = _versions(models, name)
        if number in here:
            return _with_calibrations(stored, manifest, here[number], models)
        if here:
            _check_that_it_fits(stored, manifest, here[max(here)])
        with in_words(stored.place):
            _fetch(stored, staged, models)
        if problems := check_version(ModelVersion(name, number, staged.version_folder)):
            told = "; ".join(problems).replace(f"{staged.version_folder}/", "").replace(str(staged.root), str(models))
            raise RepositoryError(f"{stored.place}: {told}. Nothing was changed here; push that version again")
        fetched = ModelVersion(name, number, publish(staged, models).folder)
    return Pulled(fetched, True, len(fetched.calibration_ids()), _other_version(fetched, models))


def _other_version(version: ModelVersion, models: Path) -> tuple[str, ...]:
    """Return a note if another version is served here than the one that was asked for, or that the store serves."""
    try:
        served = ModelRepository(models).served(version.name).version
    except (ModelNotFound, RepositoryError):
        return ()
    if served == version.version:
        return ()
    return (f"another version is served here; to change that: avizor models load {_named(version, models)}",)


def _named(version: ModelVersion, models: Path) -> str:
    """Return what names a version in a command."""
    return f"{version.name} --version {version.version} --models {shlex.quote(str(models))}"


def _versions(models: Path, name: str) -> dict[int, ModelVersion]:
    """Return the versions of a model that are here."""
    repository = ModelRepository(models)
    return {number: repository.version(name, number) for number in (repository.versions(name) if repository.has(name) else ())}


def _check_that_it_fits(stored: StoredModel, manifest: Manifest, newest: ModelVersion) -> None:
    if newest.manifest.interface != manifest.interface:
        raise RepositoryError(
            f"version {manifest.version} at {stored.place} has other inputs, outputs or labels than version {newest.version} "
            "here; nothing was changed. Pull it into another repository: --models"
        )


def _with_calibrations(stored: StoredModel, manifest: Manifest, version: ModelVersion, models: Path) -> Pulled:
    """Add the calibrations that a version here does not have, and activate those that are active in the store and new here."""
    if version.manifest != manifest:
        raise RepositoryError(
            f"{version.folder} is another version {version.version} than {stored.place} has, which was made "
            f"{manifest.provenance.created:%Y-%m-%d %H:%M} UTC; nothing was changed. Pull it into another repository: --models"
        )
    folder = stored.place / str(version.version) / CALIBRATIONS_FOLDER
    known = set(version.calibration_ids())
    with in_words(folder):
        active, _ = active_at(folder)  # before the files: all that it names are there
        new = {each: _calibration(folder, each, manifest) for each in _ids(folder) if each not in known}
        for calibration in new.values():
            store(version.folder, calibration)
        here = read_active(version.folder).ids()
        for kind, identifier in active.ids().items():
            if identifier in new:
                _activate_or_remove(version, new[identifier])
            elif identifier in known and kind not in here:  # a pull was stopped before this
                activate(version.folder, version.calibration(identifier))
    return Pulled(version, False, len(new), (*_other_version(version, models), *_other_choices(version, active, models)))


def _activate_or_remove(version: ModelVersion, calibration: Calibration) -> None:
    """Activate a calibration that was stored now. If that fails, it is removed, so that it is new, and activated, next time."""
    try:
        activate(version.folder, calibration)
    except BaseException:
        if all(calibration.id not in history for history in read_active(version.folder).histories.values()):
            calibration_path(version.folder, calibration.id).unlink(missing_ok=True)
        raise


def _other_choices(version: ModelVersion, there: ActiveCalibrations, models: Path) -> tuple[str, ...]:
    here, name = read_active(version.folder).ids(), _named(version, models)
    return tuple(
        f"for {kind} another one is active here; to change that: avizor calibrate {name} --activate-id {identifier}"
        for kind, identifier in sorted(there.ids().items())
        if here.get(kind) != identifier and identifier in version.calibration_ids()
    )


def _ids(folder: ObjectPath) -> list[str]:
    names = (path.stem for path in map(PurePath, folder.listed().objects) if path.suffix == _CALIBRATION)
    return [name for name in names if re.fullmatch(ID_PATTERN, name)]


def _calibration(folder: ObjectPath, identifier: str, manifest: Manifest) -> Calibration:
    path = folder / f"{identifier}.json"
    return Calibration.of_bytes(path.read_bytes(), identifier, str(path), manifest)


def _fetch(stored: StoredModel, staged: Staging, models: Path) -> None:
    """Copy the files of a version, its calibrations, and what goes with them, into the staging folder."""
    folder = stored.place / str(staged.version)
    folders, objects = folder.listed()
    for name in filter(FILE.fullmatch, objects):
        (folder / name).fetch(staged.version_folder / name)
    calibrations = staged.version_folder / CALIBRATIONS_FOLDER
    if CALIBRATIONS_FOLDER in folders:
        calibrations.mkdir()
        active, state = active_at(folder / CALIBRATIONS_FOLDER)  # before the files: all that it names are there
        for identifier in _ids(folder / CALIBRATIONS_FOLDER):
            (folder / CALIBRATIONS_FOLDER / f"{identifier}.json").fetch(calibration_path(staged.version_folder, identifier))
        if state:
            _write(calibrations / ACTIVE_FILE, active.to_json())
    if LABELS_FILE in stored.place.listed().objects:
        (stored.place / LABELS_FILE).fetch(staged.model_folder / LABELS_FILE)
    _write_config(stored, staged, models)


def _write_config(stored: StoredModel, staged: Staging, models: Path) -> None:
    """Write config.pbtxt: that of the model that is here, or else that of the store, without its choice of a version."""
    here = models / staged.name / CONFIG_FILE
    digests = {staged.version: stored.versions[staged.version].model_sha256}
    if here.is_file():
        text = read_text(here)
    else:
        digests |= earlier_digests(models, staged.name)
        overrides = stored.overrides()
        if overrides:
            _write(staged.model_folder / OVERRIDES_FILE, overrides)
        text = without_choice(stored.config or "", overrides, str(stored.place / CONFIG_FILE))
    _write(staged.model_folder / CONFIG_FILE, with_digests(text, digests, str(here)))


def _write(path: Path, text: str) -> None:
    """Write a file. Raises OSError, which names it: that of a full disk does not."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
