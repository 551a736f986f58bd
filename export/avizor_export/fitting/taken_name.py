"""Refuse a name under which something else is published, before a training: a new version takes the place of the one before."""

from __future__ import annotations

from pathlib import Path

from avizor_export.fitting.folder import WORDS
from avizor_export.fitting.kept import KEPT_FILE
from avizor_export.fitting.shown import warn
from avizor_inference.errors import AvizorError, ExportError
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.manifest import Task
from avizor_inference.repository.models import ModelRepository, ModelVersion

_TASKS = {"classify": "a classifier", "reconstruct": "a detector"}


def check_name_is_free(name: str, models: Path, task: Task, modality: str) -> None:
    """Raise ExportError if a model of this name is for another task or kind of items, or was not made by `avizor fit`.

    modality: of the items that are to be fitted.
    """
    if (before := _newest(name, models)) is None:
        return
    now, is_own = before.manifest, (before.folder / KEPT_FILE).is_file()
    if is_own and (now.task, now.input.modality) == (task, modality):
        return
    made = "" if is_own else ", which `avizor fit` did not make"
    raise ExportError(
        f"{name!r} in {models} is {_TASKS[now.task]} of {_word(now.input.modality)}{made} (version {before.version}); "
        f"whoever asks it would be answered by {_TASKS[task]} of {_word(modality)} from this folder instead: give another name "
        "with --name, or another repository with --models"
    )


def check_shape(name: str, models: Path, spec: InputSpec, labels: tuple[str, ...] = (), *, dry_run: bool) -> None:
    """Raise ExportError if the newest version of this name takes items of another shape, or tells other classes apart.

    In a dry run, warn of it; without a name, do nothing.

    All versions of a model share one configuration, so that what was trained could not be published.
    """
    if not name or (before := _newest(name, models)) is None:
        return
    old, new = before.manifest.input.tensor(), spec.tensor()
    if (old.name, old.dtype, old.item_shape) != (new.name, new.dtype, new.item_shape):
        was, now = (" x ".join(map(str, each.item_shape)) for each in (old, new))
        problem = (
            f"takes items of {was} values, and this one would take {now}; give the choices about the input as they were then"
        )
    elif (known := before.manifest.labels or ()) != labels:
        problem = f"tells {', '.join(known)} apart, and this one would tell {', '.join(labels)}; give items of the same classes"
    else:
        return
    problem = (
        f"version {before.version} of {name!r} {problem}, or another name with --name: a name keeps one shape and its classes"
    )
    if not dry_run:
        raise ExportError(problem)
    warn([problem])


def _word(modality: str) -> str:
    return WORDS.get(modality, "tensors")


def _newest(name: str, models: Path) -> ModelVersion | None:
    """Return the newest version of a name; None if there is none, or it cannot be read and is superseded."""
    try:
        version = ModelRepository(models).version(name)
        _ = version.manifest
    except AvizorError:
        return None
    return version
