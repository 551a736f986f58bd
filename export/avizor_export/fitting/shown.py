"""Print what was chosen, what is unusual, what differs from the version before, and which commands use the model."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from avizor_export.fitting.choices import Choice, changed_choices, choice_lines
from avizor_export.fitting.folder import Where
from avizor_export.fitting.kept import BY_SCRIPT, read_kept
from avizor_inference.durable_files import write_text
from avizor_inference.errors import AvizorError, ExportError
from avizor_inference.repository.models import ModelRepository, ModelVersion


def show_choices(
    choices: Sequence[Choice], warnings: Iterable[str], name: str, models: Path, notes: Iterable[str] = ()
) -> None:
    """Print the choices, notes about them, warnings, and what differs from the newest version of this name, if there is one."""
    echo(["chosen:", *choice_lines(choices), *notes])
    warn(warnings)
    if name:
        echo(change_lines(choices, name, models))


def echo(lines: Iterable[str]) -> None:
    """Print lines."""
    for line in lines:
        click.echo(line)


def warn(warnings: Iterable[str]) -> None:
    """Print warnings, which are sentences without a full stop."""
    for warning in warnings:
        click.echo(f"Warning: {warning}.", err=True)


@contextmanager
def saying_if_stopped() -> Iterator[None]:
    """Say what holds when the block is interrupted: a version is published in one step, the last one."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        click.echo("stopped: nothing was published; the same command begins again", err=True)
        raise


def write_script(path: Path, script: str) -> None:
    """Write the script that does what the command does, and say so.

    Raises ExportError for a file with anything else in it, OSError for what is no file, such as a pipe, which is not read.
    """
    if path.is_file() and path.read_bytes() != script.encode():
        raise ExportError(f"{path} exists, and may have been changed; give --explain another name, or remove the file")
    write_text(path, script)
    click.echo(f"the script that does this is {path}")


def serving_lines(where: Where, version: ModelVersion, models: Path, alpha: str = "") -> Iterator[str]:
    """Yield the commands that serve a version, and that stream its folder through it, after a line about them.

    alpha: of a detector. A job goes on with the version that it began with, so each version has an output of its own.
    """
    out = f"{version.name}-results" if version.version == 1 else f"{version.name}-results-{version.version}"
    repository, at = shlex.quote(str(models)), f" --alpha {alpha}" if alpha else ""
    yield "serve it, and judge items: give your new ones, as it knows those that it was fitted to"
    yield f"avizor serve --models {repository}{at}"
    yield f"avizor batch {where.options} --models {repository} --model {version.name}{at} --out {out}"


def change_lines(now: Sequence[Choice], name: str, models: Path) -> Iterator[str]:
    """Yield what differs from the choices of the newest version of this name, if `avizor fit` made it."""
    try:
        before = ModelRepository(models).version(name)
        kept = read_kept(before)
    except AvizorError:
        return
    which = f"version {before.version} of {name}"
    if BY_SCRIPT.items() <= kept.record.items():
        yield f"{which} was made by a script, which has its choices"
        return
    choices = kept.record.get("choices")
    pairs = [each for each in choices if isinstance(each, list)] if isinstance(choices, list) else []
    changes = list(changed_choices(now, [Choice(str(each), str(value), "") for each, value in pairs]))
    yield f"differs from {which}:" if changes else f"the same choices as {which}"
    yield from (f"  {change}" for change in changes)
    if len(changes) == 1 and changes[0].startswith("alpha: "):
        yield f"  {_without_a_fit(next(each.value for each in now if each.name == 'alpha'), models)}"


def _without_a_fit(alpha: str, models: Path) -> str:
    """Return how another alpha alone is had."""
    return (
        "alpha is no part of a model, so that nothing has to be trained for another one: "
        f"`avizor serve --models {shlex.quote(str(models))} --alpha {alpha}` judges with it, "
        f"`avizor batch` with --alpha {alpha}, and `avizor report RESULTS --alpha {alpha}` shows what it flags in a job"
    )
