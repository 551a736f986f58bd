"""Run `avizor explain`: each sub-command is a module here, loaded when it is called."""

from __future__ import annotations

from importlib import import_module

import click

# name -> short help; the module of the same name, with _ for -, has a command of that name.
_COMMANDS: dict[str, str] = {
    "cam": "Where an item speaks for a class.",
    "occlusion": "Where hiding parts of an item changes the answer most.",
    "error-map": "Where an autoencoder's reconstruction is wrong.",
}


class _Commands(click.Group):
    """Loads the module of a sub-command when it is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the sub-commands."""
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Load and return a sub-command; None if there is none of that name."""
        if name not in _COMMANDS:
            return None
        module = name.replace("-", "_")
        command = getattr(import_module(f"{__name__}.{module}"), module)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, short_help="Look inside a model: filters, where it looks, its latent space.")
def explain() -> None:
    """Look inside a published model: what its filters have learned, and where in an item it looks.

    Pictures are PNG files, for which matplotlib is needed: pip install 'avizor[pictures]'.
    """
