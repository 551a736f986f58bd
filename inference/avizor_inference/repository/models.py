"""Read a model repository: its models, their versions, and the verified files of a version."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_inference.digests import sha256_of_file
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import ModelNotFound, RepositoryError, VersionRefused
from avizor_inference.object_store import is_url, url_of
from avizor_inference.repository.calibration import ID_PATTERN, Calibration
from avizor_inference.repository.calibration_store import CALIBRATIONS_FOLDER, calibration_path, read_active
from avizor_inference.repository.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from avizor_inference.repository.probe import PROBE_FILE, Probe
from avizor_inference.repository.triton_config import CONFIG_FILE, VERSION_PATTERN, read_config, served_versions

# What to do about a file that cannot be read, where the system lacks nothing.
_RESTORE, _PERMISSIONS = "restore it, or export the model again", "fix its permissions"

# Where earlier releases kept a version's only calibration.
_EARLIER_FILE = "calibration.json"


@dataclass(frozen=True)
class ModelVersion:
    """Reads one version on disk: `folder` contains model.onnx and manifest.json, its parent config.pbtxt."""

    name: str
    version: int
    folder: Path

    @property
    def model_path(self) -> Path:
        """Return the path of the ONNX file."""
        return self.folder / MODEL_FILE

    @cached_property
    def manifest(self) -> Manifest:
        """Return the manifest. Raises VersionRefused if it is broken or belongs to another model or version."""
        manifest = Manifest.read(self.folder / MANIFEST_FILE)
        if (manifest.name, manifest.version) != (self.name, self.version):
            raise VersionRefused(
                f"{self.folder}: the manifest belongs to {manifest.name} version {manifest.version}; "
                "a version folder was copied or renamed: move it back, or export the model again"
            )
        return manifest

    @cached_property
    def manifest_sha256(self) -> str:
        """Return the sha256 of manifest.json, in hexadecimal; no command changes that file. Raises VersionRefused."""
        path = self.folder / MANIFEST_FILE
        try:
            return sha256_of_file(path)
        except OSError as error:
            raise VersionRefused(f"{path}: cannot be read ({reason(error)}); {remedy(error, _RESTORE)}") from error

    @cached_property
    def config(self) -> ModelConfig:
        """Return the model's Triton configuration. Raises RepositoryError if it cannot be read."""
        return read_config(self.folder.parent / CONFIG_FILE)

    def verify(self) -> None:
        """Raise VersionRefused unless model.onnx is the file that the manifest describes."""
        if not self.model_path.is_file():
            raise VersionRefused(f"{self.model_path} is missing; export the model again")
        try:
            actual = sha256_of_file(self.model_path)
        except OSError as error:
            raise VersionRefused(
                f"{self.model_path}: cannot be read ({reason(error)}); {remedy(error, _PERMISSIONS)}"
            ) from error
        if actual != self.manifest.model_sha256:
            raise VersionRefused(
                f"{self.model_path} is not the file its manifest describes (sha256 {actual[:12]}..., manifest "
                f"{self.manifest.model_sha256[:12]}...); it was changed or cut short: restore it, or export the model again"
            )

    def verify_size(self) -> None:
        """Raise VersionRefused unless model.onnx has the size in its manifest: a quick check, without reading the file."""
        if not self.model_path.is_file():
            raise VersionRefused(f"{self.model_path} is missing; export the model again")
        actual = self.model_path.stat().st_size
        if actual != self.manifest.model_bytes:
            raise VersionRefused(
                f"{self.model_path} has {actual} bytes, in its manifest {self.manifest.model_bytes}; it was changed or cut "
                "short: restore it, or export the model again"
            )

    def calibrations(self) -> tuple[Calibration, ...]:
        """Return the active calibrations: at most one for each engine class and precision, in the order of these.

        Reads the files at each call, since other calibrations may be activated meanwhile. Raises VersionRefused.
        """
        ids = read_active(self.folder).ids()
        if not ids and (self.folder / _EARLIER_FILE).exists():
            raise VersionRefused(
                f"{self.folder / _EARLIER_FILE} was made by an earlier release, and does not name its engine; calibrate the "
                f"model again: {self.calibrate_command()}"
            )
        calibrations = []
        for kind, identifier in sorted(ids.items()):
            calibration = self.calibration(identifier)
            if calibration.kind != kind:
                raise VersionRefused(
                    f"{self.folder / CALIBRATIONS_FOLDER} names calibration {identifier} for {kind}, and it is for "
                    f"{calibration.kind}; activate another one with `avizor calibrate --activate-id`"
                )
            calibrations.append(calibration)
        return tuple(calibrations)

    def calibration(self, identifier: str) -> Calibration:
        """Return a stored calibration by its id, active or not. Raises VersionRefused if there is none, or it is damaged."""
        path = calibration_path(self.folder, identifier)
        if not re.fullmatch(ID_PATTERN, identifier) or not path.is_file():
            known = ", ".join(self.calibration_ids()) or "none"
            raise VersionRefused(
                f"{self.name} version {self.version} has no calibration {identifier!r}; stored: {known}. If it is the active "
                f"one, restore its file, or calibrate again: {self.calibrate_command()}"
            )
        return Calibration.read(path, self.manifest)

    def calibration_ids(self) -> list[str]:
        """Return the ids of all stored calibrations, sorted."""
        names = (path.stem for path in (self.folder / CALIBRATIONS_FOLDER).glob("*.json"))
        return sorted(name for name in names if re.fullmatch(ID_PATTERN, name))

    def calibrate_command(self, engine_options: str = "") -> str:
        """Return the command that makes and activates a calibration of this version.

        engine_options: `--engine ...` of the engine that is to be calibrated, where it is not the default.
        """
        models, options = shlex.quote(str(self.folder.parent.parent)), engine_options and f"{engine_options} "
        return f"avizor calibrate {self.name} --data DIR --models {models} --version {self.version} {options}--activate"

    def probe(self) -> Probe | None:
        """Return the probe items; None if the version has none. Raises VersionRefused if they are damaged."""
        sha256 = self.manifest.probe_sha256
        return Probe.read(self.folder / PROBE_FILE, sha256) if sha256 else None


class ModelRepository:
    """Reads a folder of models in Triton's layout, `<name>/<version>/model.onnx`. Keeps nothing between calls, never writes."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        check_on_disk(self.root)
        if not self.root.is_dir():
            raise RepositoryError(f"{self.root} is not a folder; `avizor export --models {self.root} ...` creates one")

    def names(self) -> list[str]:
        """Return the names of the models, sorted. A folder whose name begins with a dot belongs to a running publication."""
        return sorted(name for name in self._folder_names() if _is_text(name))

    def has(self, name: str) -> bool:
        """Return whether there is a model of that name, without a look at all others."""
        if not name or name.startswith(".") or Path(name).name != name or not _is_text(name):
            return False
        try:
            return (self.root / name).is_dir()
        except OSError:  # a name that is too long
            return False

    def nameless(self) -> list[str]:
        """Return folders whose names are no text, with escapes for their bytes: nobody can ask for such a model."""
        return sorted(name.encode(errors="backslashreplace").decode() for name in self._folder_names() if not _is_text(name))

    def _folder_names(self) -> list[str]:
        return [path.name for path in _folders(self.root) if not path.name.startswith(".")]

    def versions(self, name: str) -> list[int]:
        """Return the version numbers of a model, ascending. Raises ModelNotFound."""
        if not self.has(name):
            known = ", ".join(self.names()) or "none"
            raise ModelNotFound(f"no model named {name!r}. Available: {known}")
        if not _is_unicode(name):
            raise RepositoryError(f"{name!r}: the name of the folder is not UTF-8; rename it, or move the folder away")
        return sorted(int(path.name) for path in _folders(self.root / name) if re.fullmatch(VERSION_PATTERN, path.name))

    def version(self, name: str, version: int | None = None) -> ModelVersion:
        """Return one version, by default the newest, not yet verified. Raises ModelNotFound."""
        versions = self.versions(name)
        if not versions:
            raise ModelNotFound(f"model {name!r} has no version; export it again")
        if version is not None and version not in versions:
            raise ModelNotFound(f"model {name!r} has no version {version}. Available: {', '.join(map(str, versions))}")
        number = versions[-1] if version is None else version
        return ModelVersion(name, number, self.root / name / str(number))

    def served(self, name: str, version: int | None = None) -> ModelVersion:
        """Return a version that is named, or else the one in force: the newest that version_policy in config.pbtxt serves.

        Every command asks this where no version is named, so that all of them follow a rollback. Not yet verified. Raises
        ModelNotFound, RepositoryError.
        """
        return self.version(name, self.candidates(name)[0] if version is None else version)

    def candidates(self, name: str) -> list[int]:
        """Return the versions that may be used where none is named, the best first: after the newest, older ones.

        A version_policy that lists versions rules out all others. Raises ModelNotFound, RepositoryError.
        """
        versions = self.versions(name)
        if not versions:
            raise ModelNotFound(f"{self.root / name} holds no version of a model; export it again, or move the folder away")
        config = read_config(self.root / name / CONFIG_FILE)
        allowed = served_versions(config, versions) if config.version_policy.HasField("specific") else versions
        if not allowed:
            wanted = ", ".join(map(str, config.version_policy.specific.versions))
            raise ModelNotFound(
                f"model {name!r} is to be served in version {wanted} by its version_policy, and has "
                f"{', '.join(map(str, versions))}; choose one with `avizor models load {name} --version N`"
            )
        return allowed[::-1]


def check_on_disk(repository: Path) -> None:
    """Raise RepositoryError for the URL of an object store."""
    if is_url(repository):
        raise RepositoryError(
            f"{url_of(repository)}: a model repository is a folder on a disk; name one, and bring the models there: "
            f"`avizor models pull --from URL`"
        )


def _is_unicode(name: str) -> bool:
    """Return whether a name can be sent and written: names of files may be any bytes, which Python keeps as surrogates."""
    return not any("\ud800" <= each <= "\udfff" for each in name)


def _is_text(name: str) -> bool:
    """Return whether a file's name is UTF-8; other bytes are in it as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except FileNotFoundError as error:
        raise RepositoryError(f"{folder} is gone; put it back") from error
    except OSError as error:
        raise RepositoryError(f"{folder}: cannot be read ({reason(error)}); {remedy(error, _PERMISSIONS)}") from error
