"""Define where the sub-commands of `avizor explain` write, and open the model and the engine that their options name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from avizor_inference.cli_option_groups import Command, with_options
from avizor_inference.engines.base import Engine, check_same_digest
from avizor_inference.engines.device import Device
from avizor_inference.engines.open_engine import asked_first, open_engine
from avizor_inference.repository.models import ModelRepository, ModelVersion

OUT_OPTIONS = ("out",)


def out_option(command: Command) -> Command:
    """Add OUT_OPTIONS."""
    help = "Folder for the pictures (.png) and the numbers behind them (.npz)."
    return with_options(
        command, click.option("--out", type=click.Path(path_type=Path), default=Path("explained"), show_default=True, help=help)
    )


@contextmanager
def opened(models: Path, model: str, version: int | None, engine: str, device: Device) -> Iterator[tuple[Engine, ModelVersion]]:
    """Open the engine and the version that the options name, and check that the engine serves that version.

    Raises RepositoryError, SettingsError, EngineError.
    """
    repository = ModelRepository(models)
    chosen = repository.served(model, version)
    with open_engine(engine, repository, device=device) as running, asked_first(engine):
        check_same_digest(running.spec(chosen.name, chosen.version), chosen)
        yield running, chosen
