"""Run `avizor models`: list the models of a repository, or check them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from avizor_inference.checks.check_version import check_model, model_notes
from avizor_inference.errors import AvizorError
from avizor_inference.load_cli import load, rollback
from avizor_inference.model_options import models_option
from avizor_inference.model_store.cli import pull_command, push_command
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.triton_config import CONFIG_FILE, read_config

_FOLDER = click.Path(path_type=Path)
_MODELS_EXAMPLES = """\b
Examples:
  avizor models
  avizor models --models /srv/models check
"""
_CHECK_EXAMPLES = """\b
Examples:
  avizor models check
  avizor models check --models /srv/models digits pumps
"""
_COLUMNS = ("name", "task", "input", "versions", "precision", "size", "sha256", "parity", "calibration")
_UNUSABLE = ("UNUSABLE", *["-"] * (len(_COLUMNS) - 2))
_WIDEST = 60  # characters of one cell


@click.group(
    invoke_without_command=True,
    short_help="List the models of a repository, or check them.",
    epilog=_MODELS_EXAMPLES,
)
@click.option(
    "--models", "folder", type=_FOLDER, metavar="FOLDER", default=Path("models"), show_default=True, help="Model repository."
)
@click.pass_context
def models(context: click.Context, folder: Path) -> None:
    """List the models of a repository, or `check` that their files agree. Exit code 1 if a model is unusable.

    The list takes a quick look at the version of each model that is served: can its files be read, and has model.onnx the
    right size?
    """
    context.default_map = {name: {"models": str(folder)} for name in models.commands}
    if context.invoked_subcommand is None and not _list(ModelRepository(folder)):
        sys.exit(1)


@models.command(short_help="Verify all files of the models.", epilog=_CHECK_EXAMPLES)
@models_option
@click.argument("names", nargs=-1)
def check(models: Path, names: tuple[str, ...]) -> None:
    """Verify digest, manifest, labels, calibration and config.pbtxt of the models called NAMES, of all models by default.

    Each is compared with the graph. Exit code 1 if anything is wrong.
    """
    repository = ModelRepository(models)
    wrong = 0
    if not (names := names or tuple(repository.names())):
        _print_empty(repository)
    for name in names:
        problems = check_model(repository, name)
        wrong += bool(problems)
        click.echo(_printable(f"{name}: {'ok' if not problems else 'WRONG'}"))
        for line in problems or [f"note: {note}" for note in model_notes(repository, name)]:
            click.echo(f"  {_printable(line)}")
    if wrong:
        sys.exit(1)


models.add_command(load)
models.add_command(rollback)
models.add_command(push_command)
models.add_command(pull_command)


def _print_empty(repository: ModelRepository) -> None:
    click.echo(_printable(f"no models in {repository.root}"))


def _list(repository: ModelRepository) -> bool:
    """Print the table. Return False if a model is unusable."""
    names, nameless = repository.names(), repository.nameless()
    if not names and not nameless:
        _print_empty(repository)
        return True
    rows: list[tuple[str, ...]] = [_COLUMNS]
    broken = [f"{name}: the name is not UTF-8, so that nobody can ask for the model; rename the folder" for name in nameless]
    for name in names:
        try:
            rows.append(_row(repository.served(name), repository.versions(name)))
        except AvizorError as error:
            rows.append((name, *_UNUSABLE))
            broken.append(f"{name}: {error}")
    rows += [(name, *_UNUSABLE) for name in nameless]
    rows = [tuple(map(_cell, row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for line in broken:
        click.echo(_printable(line))
    return not broken


def _row(version: ModelVersion, versions: list[int]) -> tuple[str, ...]:
    """Return one row. Raises RepositoryError if files are missing or cannot be read, or model.onnx has another size."""
    version.verify_size()
    read_config(version.folder.parent / CONFIG_FILE)
    manifest = version.manifest
    tensor = manifest.input.tensor()
    worst = max((output.largest_absolute for output in manifest.parity.outputs.values()), default=0.0)
    return (
        version.name,
        manifest.task,
        f"{tensor.name} {tensor.dtype}[N,{','.join(map(str, tensor.item_shape))}]",
        _versions(version.version, versions),
        manifest.precision,
        f"{manifest.model_bytes / 1e6:.2f} MB",
        manifest.model_sha256[:12],
        f"{worst:.1e}" if manifest.parity.passed else "FAILED",
        "; ".join(map(_calibration, version.calibrations())) or "none",
    )


def _versions(served: int, versions: list[int]) -> str:
    numbers = ",".join(map(str, versions))
    return numbers if served == versions[-1] else f"{numbers} (serves {served})"


def _calibration(calibration: Calibration) -> str:
    return f"{calibration.recordings()} normal items, {age(calibration.created)}, {calibration.kind.key}"


def age(created: datetime, now: datetime | None = None) -> str:
    """Return how long ago that was, in the largest unit that fits: `3 days old`. A time without a zone is read as UTC."""
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    minutes = int(((now or datetime.now(UTC)) - created).total_seconds() // 60)
    for unit, length in (("day", 24 * 60), ("hour", 60), ("minute", 1)):
        if minutes >= length:
            number = minutes // length
            return f"{number} {unit}{'' if number == 1 else 's'} old"
    return "new" if minutes >= 0 else "from the future"


def _cell(text: str) -> str:
    text = _printable(text)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def _printable(text: str) -> str:
    """Replace line breaks, terminal codes and other unprintable characters: names come from folders and files."""
    return "".join(character if character.isprintable() else "?" for character in text)
