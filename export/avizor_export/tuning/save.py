"""Write a chosen candidate to config.pbtxt: generate the file again with its values, and merge the overrides over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.triton_config.config_pbtxt import generated_config, published_settings
from avizor_export.triton_config.overrides import read_overrides
from avizor_export.triton_config.settings import changes, serving_of, shown
from avizor_export.tuning.candidates import Candidate
from avizor_export.tuning.measure import sets_instances
from avizor_inference.errors import ExportError
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.publication import locked, write_whole
from avizor_inference.repository.triton_config import CONFIG_FILE, digest_of_version, digests_in, parse_config
from avizor_inference.repository.version_choice import choosing, chosen_version, with_choice

_REMEDY = "; let this user write there, or give --dry-run"


@dataclass(frozen=True)
class Tuned:
    """Hold what changed in config.pbtxt.

    changed: the serving settings that differ, as from `changed_fields`.
    changed_meanwhile: whether another process changed the file since the version was read.
    """

    changed: list[str]
    changed_meanwhile: bool = False


def tuned_config(models: Path, version: ModelVersion, config: ModelConfig, candidate: Candidate) -> str:
    """Return the text of config.pbtxt with the candidate's values. config: the current configuration of the version.

    Raises ExportError if the file was edited, or if config.overrides.pbtxt sets a field that the candidate would set.
    """
    values = _settings_of(config, candidate)
    settings = replace(published_settings(models, version.name), **values)
    overrides = read_overrides(models / version.name)
    return generated_config(version.manifest, settings, digests_in(config), overrides, asked=values)


def changed_fields(before: ModelConfig, after: str) -> list[str]:
    """Return the serving settings that differ, as `name before -> after`. after: the text of a config.pbtxt."""
    differing = changes(serving_of(before), serving_of(parse_config(after, CONFIG_FILE)))
    return [f"{name} {shown(was)} -> {shown(now)}" for name, (was, now) in differing.items()]


def check_writable(models: Path, name: str) -> None:
    """Raise ExportError if this process cannot replace config.pbtxt of a model."""
    with _writing(models, name):
        folder = models / name
        if not os.access(folder, os.W_OK):
            raise ExportError(f"{folder} cannot be written{_REMEDY}")


def write_tuned(models: Path, version: ModelVersion, candidate: Candidate) -> Tuned:
    """Replace config.pbtxt by one with the candidate's values, in one step; a rollback stays. Return what changed.

    Raises ExportError if another version is served than when `version` was read, if the file cannot be written, or as
    `tuned_config` does.
    """
    path = models / version.name / CONFIG_FILE
    with _writing(models, version.name), choosing(path.parent):
        before = path.read_text(encoding="utf-8")
        config = parse_config(before, str(path))
        served = ModelRepository(models).served(version.name).version
        if served != version.version or digest_of_version(config, served) != version.manifest.model_sha256:
            raise ExportError(f"another version of {version.name!r} is served since it was tuned; tune it again")
        text = tuned_config(models, version, config, candidate)
        if chosen := chosen_version(path.parent):
            text = with_choice(text, chosen)
        tuned = Tuned(changed_fields(config, text), config != version.config)  # reads the file if it was not read yet
        if text != before:
            write_whole(path, text)
    return tuned


@contextmanager
def _writing(models: Path, name: str) -> Iterator[None]:
    """Hold the name's lock during the block. Raises ExportError for a file that cannot be written."""
    try:
        with locked(models, name):
            yield
    except OSError as error:
        path = error.filename or models / name
        raise ExportError(f"{path} cannot be written ({error.strerror or error}){_REMEDY}") from error


def _settings_of(config: ModelConfig, candidate: Candidate) -> dict[str, Any]:
    """Return the settings of a candidate by name: the same as `with_candidate` sets for a measurement."""
    values: dict[str, Any] = {"intra_op_threads": candidate.threads}
    if sets_instances(config, candidate):
        values["instances"] = candidate.instances
    if candidate.queue_delay_us is None:
        return {**values, "call_batch_size": candidate.batch, "engine": candidate.engine or ""}
    return {**values, "queue_delay_us": candidate.queue_delay_us, "preferred_batch_sizes": candidate.preferred}
