"""Copy a version of a model from a repository to an object store."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from avizor_inference.checks.check_version import check_version
from avizor_inference.digests import sha256_of_file
from avizor_inference.errors import RepositoryError
from avizor_inference.items.object_path import ObjectPath
from avizor_inference.model_store.active import active_at, with_active_of
from avizor_inference.model_store.stored_model import FILE, StoredModel, in_words
from avizor_inference.repository.calibration_store import ACTIVE_FILE, CALIBRATIONS_FOLDER, calibration_path, read_active
from avizor_inference.repository.config_text import with_digests
from avizor_inference.repository.manifest import MANIFEST_FILE
from avizor_inference.repository.models import ModelVersion
from avizor_inference.repository.triton_config import CONFIG_FILE, LABELS_FILE, OVERRIDES_FILE, digests_in
from avizor_inference.repository.version_choice import chosen_version, read_text, without_choice

# The manifest of the version that takes a number, written first, where none is. Then another version of that number is
# refused while this one is sent: a large file goes in pieces, and a store cannot refuse those that would replace a file.
_CLAIM = ".manifest.json"

# How often a file is written again that another push has replaced meanwhile.
_TRIES = 20
_BUSY = "{} is replaced again and again by others; push again"


class Pushed(NamedTuple):
    """Says what a store did not have. is_new: the version itself. bytes: of its files. calibrations: new ones."""

    place: ObjectPath
    is_new: bool
    bytes: int
    calibrations: int


def push(version: ModelVersion, store: ObjectPath) -> Pushed:
    """Bring a version to a store, with its calibrations; config.pbtxt there is that of its repository then.

    It counts there when all of it is there. What is there already is not sent again. Raises RepositoryError, SettingsError.
    """
    if problems := check_version(version):
        raise RepositoryError(f"{'; '.join(problems)}. Nothing was sent")
    place = store / version.name
    with in_words(place):
        stored = StoredModel.read(place)
        _check_that_it_fits(stored, version)
        folder, is_new = place / str(version.version), version.version not in stored.versions
        manifest, sent = version.folder / MANIFEST_FILE, 0
        if is_new:
            _send(manifest, folder / _CLAIM)
            sent = _send_files(version, folder)
        calibrations = _send_calibrations(version, folder)
        if is_new:
            sent += _send(manifest, folder / MANIFEST_FILE)
        _send_settings(version, place)
        _announce(version, stored)
    return Pushed(folder, is_new, sent, calibrations)


def _check_that_it_fits(stored: StoredModel, version: ModelVersion) -> None:
    there = stored.versions
    if (same := there.get(version.version)) and same != version.manifest:
        raise RepositoryError(
            f"{stored.place} has another version {version.version}, made {same.provenance.created:%Y-%m-%d %H:%M} UTC; nothing "
            "was sent. Pull that one into another repository and export there, which gives the next number; or push elsewhere"
        )
    newest = there[max(there)] if there else None
    if newest and newest.interface != version.manifest.interface:
        raise RepositoryError(
            f"{stored.place} has other inputs, outputs or labels in version {newest.version}; nothing was sent. Export under "
            "another name, or push to another URL"
        )


def _send_files(version: ModelVersion, folder: ObjectPath) -> int:
    """Send the files of a version but its manifest. Those that are there already are of a push that was stopped."""
    paths = sorted(path for path in version.folder.iterdir() if FILE.fullmatch(path.name) and path.is_file())
    return sum(_send(path, folder / path.name) for path in paths if path.name != MANIFEST_FILE)


def _send(path: Path, target: ObjectPath) -> int:
    """Send a file that never changes, unless it is there; return its bytes."""
    try:
        target.put_file(path, new=True)
    except FileExistsError as error:
        if target.sha256() != sha256_of_file(path):
            raise RepositoryError(
                f"{target} is another file than {path}: another machine pushes a version of this number, or its push was "
                f"stopped. Wait, or remove all below {target.parent}/, and push again"
            ) from error
    return path.stat().st_size


def _send_calibrations(version: ModelVersion, folder: ObjectPath) -> int:
    """Send the calibrations that are not there, and then which are active. Return the number of new ones."""
    target, here = folder / CALIBRATIONS_FOLDER, read_active(version.folder)
    there = set(target.listed().objects)
    paths = [calibration_path(version.folder, identifier) for identifier in version.calibration_ids()]
    new = [path for path in paths if path.name not in there]
    for path in new:
        _send(path, target / path.name)
    for _ in range(_TRIES):
        active, state = active_at(target)
        wanted = with_active_of(active, here)
        try:
            if wanted != active:
                (target / ACTIVE_FILE).put(wanted.to_json().encode(), new=state is None, version=state)
            return len(new)
        except FileExistsError:
            continue
    raise RepositoryError(_BUSY.format(target / ACTIVE_FILE))


def _send_settings(version: ModelVersion, place: ObjectPath) -> None:
    for name in (LABELS_FILE, OVERRIDES_FILE):
        path = version.folder.parent / name
        if path.is_file():
            (place / name).put(path.read_bytes())
        else:
            (place / name).unlink(missing_ok=True)


def _announce(version: ModelVersion, stored: StoredModel) -> None:
    """Write config.pbtxt, with the digests of all versions that are there: from now on this one counts."""
    for _ in range(_TRIES):
        text = _config(version, stored)
        if text == stored.config:
            return
        try:
            (stored.place / CONFIG_FILE).put(text.encode(), new=stored.state is None, version=stored.state)
            return
        except FileExistsError:
            stored = StoredModel.read(stored.place)  # of another push
            _check_that_it_fits(stored, version)
    raise RepositoryError(_BUSY.format(stored.place / CONFIG_FILE))


def _config(version: ModelVersion, stored: StoredModel) -> str:
    folder = version.folder.parent
    path = folder / CONFIG_FILE
    digests = {number: manifest.model_sha256 for number, manifest in stored.versions.items()}
    digests[version.version] = version.manifest.model_sha256
    only_here = dict.fromkeys(digests_in(version.config), "")  # another machine may push a version of such a number
    text = with_digests(read_text(path), only_here | digests, str(path))
    if chosen_version(folder) in (None, *digests):
        return text
    overrides = folder / OVERRIDES_FILE
    return without_choice(text, read_text(overrides) if overrides.is_file() else "", str(path))
