"""Writing a chosen candidate into config.pbtxt: as export would have written it, else with every field as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.publication.publish import locked, write_whole
from avizor_export.triton_config.next_config import exported_text, name_to_keep, written
from avizor_export.triton_config.settings import changes, serving_of
from avizor_export.tuning.candidates import Candidate
from avizor_export.tuning.measure import apply_candidate, sets_instances
from avizor_inference.errors import ExportError
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import CONFIG_FILE, digest_of_version, digests_in, parse_config

_MEND = "; let this user write there, or give --dry-run"


@dataclass(frozen=True)
class Tuned:
    """What became of config.pbtxt.

    changed: the settings that differ, as from `differences`; nothing was written where there are none.
    kept: where the file before is kept, if it had been edited.
    moved: whether the file was changed by somebody else since the version was read.
    """

    changed: list[str]
    kept: Path | None = None
    moved: bool = False


def tuned(config: ModelConfig, candidate: Candidate) -> ModelConfig:
    """A copy of the configuration with the candidate's values. Raises ExportError where they cannot be written into it."""
    if len(config.instance_group) > 1 and sets_instances(config, candidate):
        raise ExportError(
            f"config.pbtxt of {config.name!r} has {len(config.instance_group)} instance groups; tune knows one: leave one, or "
            "set the counts by hand"
        )
    changed = ModelConfig()
    changed.CopyFrom(config)
    apply_candidate(changed, candidate)
    return changed


def changed_fields(before: ModelConfig, after: ModelConfig) -> list[str]:
    """The serving settings that differ, as `name before -> after`."""
    return [
        f"{name} {_shown(was)} -> {_shown(now)}" for name, (was, now) in changes(serving_of(before), serving_of(after)).items()
    ]


def check_writable(models: Path, name: str) -> None:
    """Raise ExportError where config.pbtxt of a model could not be replaced."""
    with _writing(models, name):
        folder = models / name
        if not os.access(folder, os.W_OK):
            raise ExportError(f"{folder} cannot be written{_MEND}")


def write_tuned(models: Path, version: ModelVersion, candidate: Candidate) -> Tuned:
    """Replace config.pbtxt by one with the candidate's values, in one step.

    A file that export would not have written so keeps all its fields, and is itself kept beside the new one, since its comments
    are lost. Raises ExportError if the model was published anew since `version` was read, or the file cannot be written.
    """
    path = models / version.name / CONFIG_FILE
    with _writing(models, version.name):
        before = path.read_text(encoding="utf-8")
        config = parse_config(before, str(path))
        newest = ModelRepository(models).versions(version.name)[-1]
        if newest != version.version or digest_of_version(config, newest) != version.manifest.model_sha256:
            raise ExportError(f"{version.name!r} was published anew while it was tuned; tune it again")
        changed = tuned(config, candidate)
        moved, differing = config != version.config, changed_fields(config, changed)
        if not differing:
            return Tuned([], moved=moved)
        kept = path.with_name(name_to_keep(path.parent))
        text, lost = written(changed, _as_exported(version, changed), before, _as_exported(version, config), kept.name)
        if lost:
            write_whole(kept, before)
        write_whole(path, text)
    return Tuned(differing, kept if lost else None, moved)


@contextmanager
def _writing(models: Path, name: str) -> Iterator[None]:
    """Hold the name's lock. Raises ExportError for what the system refuses."""
    try:
        with locked(models, name):
            yield
    except OSError as error:
        where = error.filename or models / name
        raise ExportError(f"{where} cannot be written ({error.strerror or error}){_MEND}") from error


def _as_exported(version: ModelVersion, config: ModelConfig) -> str:
    """What export writes for this version and the settings in the configuration."""
    return exported_text(version.manifest, serving_of(config), digests_in(config))


def _shown(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
