"""`avizor models`: list a repository, check it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from avizor_inference.check import check_model
from avizor_inference.errors import AvizorError
from avizor_inference.repository import ModelRepository, ModelVersion

_models_option = click.option(
    "--models", "folder", type=click.Path(path_type=Path), default=Path("models"), show_default=True, help="Model repository."
)


@click.group(invoke_without_command=True)
@_models_option
@click.pass_context
def models(context: click.Context, folder: Path) -> None:
    """List the models of a repository, or `check` that their files agree."""
    context.obj = folder
    if context.invoked_subcommand is None:
        _list(ModelRepository(folder))


@models.command()
@click.option("--models", "folder", type=click.Path(path_type=Path), default=None, help="Model repository.")
@click.argument("names", nargs=-1)
@click.pass_obj
def check(group_folder: Path, folder: Path | None, names: tuple[str, ...]) -> None:
    """Verify digest, manifest, labels, calibration, and config.pbtxt against the graph. Exit code 1 if anything is wrong."""
    repository = ModelRepository(folder or group_folder)
    wrong = 0
    for name in names or repository.names():
        problems = check_model(repository, name)
        wrong += bool(problems)
        click.echo(f"{name}: {'ok' if not problems else 'WRONG'}")
        for problem in problems:
            click.echo(f"  {problem}")
    if wrong:
        sys.exit(1)


def _list(repository: ModelRepository) -> None:
    rows: list[tuple[str, ...]] = [("name", "task", "input", "versions", "size", "sha256", "parity", "calibration")]
    rows += [_row(repository, name) for name in repository.names()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(repository: ModelRepository, name: str) -> tuple[str, ...]:
    try:
        version = repository.version(name)
        return _describe(version, repository.versions(name))
    except AvizorError as error:
        return (name, "unusable:", str(error), "", "", "", "", "")


def _describe(version: ModelVersion, versions: list[int]) -> tuple[str, ...]:
    manifest = version.manifest
    tensor = manifest.input.tensor()
    calibration = version.calibration()
    worst = max(output.largest_absolute for output in manifest.parity.outputs.values())
    return (
        version.name,
        manifest.task,
        f"{tensor.name} {tensor.dtype}[N,{','.join(map(str, tensor.item_shape))}]",
        ",".join(map(str, versions)),
        f"{manifest.model_bytes / 1e6:.2f} MB",
        manifest.model_sha256[:12],
        f"{worst:.1e}" if manifest.parity.passed else "FAILED",
        f"{calibration.recordings()} recordings, {calibration.created:%Y-%m-%d}" if calibration else "none",
    )
