"""`avizor COMMAND`: finds the sub-commands of the installed components through entry points."""

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
    """Return a stand-in for a command whose extra is not installed: it is listed, and says what to install."""
    extra = entry.module.partition(".")[0].removeprefix("avizor_")  # a package is named for its extra
    message = f"`avizor {entry.name}` needs {error.name}, which is not installed; pip install 'avizor[{extra}]'"

    def fail(**_: object) -> None:
        raise click.ClickException(message)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    short = f"Not installed: needs avizor[{extra}]."
    return click.Command(entry.name, callback=fail, help=f"({message})", short_help=short, context_settings=settings)


@click.group(cls=_Components, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("avizor"), prog_name="avizor")
def avizor() -> None:
    """Take trained CNN classifiers and autoencoders from PyTorch to production, and flag what looks wrong."""


def main() -> None:
    """Run the command. Exit code: 1 and one line for an error, 2 for wrong usage, 130 for Ctrl-C, 143 SIGTERM, 129 SIGHUP."""
    clean_up_when_stopped()
    lines = logging.StreamHandler()
    lines.setFormatter(WarningLines())
    logging.basicConfig(level=logging.WARNING, handlers=[lines])
    try:
        avizor()
    except AvizorError as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"not enough memory ({error}); check the sizes that were given, or use a machine with more memory")
    except OSError as error:
        _fail(f"{error.filename or 'a file or a connection'}: {reason(error)}; fix that, and run the command again")


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)
