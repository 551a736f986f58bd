"""Define the options that the sub-commands of `avizor explain` share, and open what they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from avizor_inference.engines.base import Engine, check_same_digest
from avizor_inference.engines.embedded import Device
from avizor_inference.engines.open_engine import EMBEDDED, open_engine
from avizor_inference.repository.models import ModelRepository, ModelVersion

Command = TypeVar("Command", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)

MODEL_OPTIONS = ("models", "version")
ENGINE_OPTIONS = ("engine", "device")
OUT_OPTIONS = ("out",)


def model_options(command: Command) -> Command:
    """Add MODEL_OPTIONS."""
    return _with(
        command,
        click.option("--models", type=_PATH, default=Path("models"), show_default=True, help="Folder of the model repository."),
        click.option(
            "--version", metavar="N", type=click.IntRange(min=1), show_default="the newest", help="Version of the model."
        ),
    )


def engine_options(command: Command) -> Command:
    """Add ENGINE_OPTIONS."""
    return _with(
        command,
        click.option(
            "--engine",
            metavar="ENGINE",
            default=EMBEDDED,
            show_default=True,
            help="What runs the model: `ort`, in this process, or triton://HOST:8001.",
        ),
        click.option(
            "--device",
            type=click.Choice(["config", "cpu", "cuda"]),
            default="config",
            show_default=True,
            help="Device of the engine `ort`.",
        ),
    )


def out_option(command: Command) -> Command:
    """Add OUT_OPTIONS."""
    help = "Folder for the pictures (.png) and the numbers behind them (.npz)."
    return _with(command, click.option("--out", type=_PATH, default=Path("explained"), show_default=True, help=help))


@contextmanager
def opened(models: Path, model: str, version: int | None, engine: str, device: Device) -> Iterator[tuple[Engine, ModelVersion]]:
    """Open the engine and the version that the options name, and check that the engine serves that version.

    Raises RepositoryError, SettingsError, EngineError.
    """
    repository = ModelRepository(models)
    chosen = repository.version(model, version)
    with open_engine(engine, repository, device=device) as running:
        check_same_digest(running.spec(chosen.name, chosen.version), chosen)
        yield running, chosen


def _with(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
