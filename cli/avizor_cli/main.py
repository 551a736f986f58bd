"""`avizor COMMAND`: finds each component's sub-command through entry points, so that a part that is absent is not missed."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import NoReturn

import click

from avizor_cli.stop_signals import clean_up_when_stopped
from avizor_cli.warning_lines import WarningLines
from avizor_inference.error_text import reason
from avizor_inference.errors import AvizorError

GROUP = "avizor.commands"


class _Components(click.Group):
    """Loads a sub-command's module only when it is called, so that `avizor models` does not wait for torch."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(_commands())

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        entry = _commands().get(name)
        if entry is None:
            return None
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            return _unavailable(entry, error)
        assert isinstance(command, click.Command)
        return command


def _commands() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _unavailable(entry: EntryPoint, error: ModuleNotFoundError) -> click.Command:
    """Stands in for a command whose extra is not installed: listed, and says what to install."""
    extras = {"batch": "pipeline", "describe": "export", "health": "service", "serve": "service", "tune": "export"}
    extra = extras.get(entry.name, entry.name)
    message = f"`avizor {entry.name}` needs {error.name}, which is not installed; pip install 'avizor[{extra}]'"

    def fail(**_: object) -> None:
        raise click.ClickException(message)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(entry.name, callback=fail, help=f"({message})", context_settings=settings)


@click.group(cls=_Components, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("avizor"), prog_name="avizor")
def avizor() -> None:
    """Take trained CNN classifiers and autoencoders from PyTorch to production, and be told when something looks wrong."""


def main() -> None:
    """Entry point. What went wrong is shown as one line, exit code 1. Wrong usage is 2, Ctrl-C 130, SIGTERM 143, SIGHUP 129."""
    clean_up_when_stopped()
    lines = logging.StreamHandler()
    lines.setFormatter(WarningLines())
    logging.basicConfig(level=logging.WARNING, handlers=[lines])
    try:
        avizor()
    except AvizorError as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"not enough memory ({error}); a size is larger than it was meant to be, or this machine is too small")
    except OSError as error:
        _fail(f"{error.filename or 'a file or a connection'}: {reason(error)}; put that right, and run the command again")


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)
