"""Define the options that say which model of a repository is meant, and what runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from avizor_inference.cli_option_groups import Command, with_options
from avizor_inference.engines.open_engine import EMBEDDED

MODEL_OPTIONS = ("models", "version")
ENGINE_OPTIONS = ("engine", "device")


models_option = click.option(
    "--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True, help="The model repository."
)


def version_option(default: str) -> Callable[[Command], Command]:
    """Return what adds --version. default: in words, which version it is otherwise."""
    return click.option("--version", metavar="N", type=click.IntRange(min=1), show_default=default, help="Which version.")


def model_options(command: Command) -> Command:
    """Add MODEL_OPTIONS."""
    return with_options(command, models_option, version_option("the one that is served"))


def engine_option(what: str, where: str) -> Callable[[Command], Command]:
    """Return what adds --engine. what: it runs, such as the model. where: it does, unless it is a server."""
    return click.option(
        "--engine",
        metavar="ENGINE",
        default=EMBEDDED,
        show_default=True,
        help=f"What runs {what}: `ort`, `openvino`, `openvino:bf16` or `tuned`, {where}, or triton://HOST:8001.",
    )


device_option = click.option(
    "--device",
    type=click.Choice(["config", "cpu", "cuda"]),
    default="config",
    show_default=True,
    help="Device of the engine `ort`.",
)


def engine_options(command: Command) -> Command:
    """Add ENGINE_OPTIONS."""
    return with_options(command, engine_option("the model", "in this process"), device_option)
