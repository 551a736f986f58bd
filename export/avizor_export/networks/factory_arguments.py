"""Read the option --set: arguments of a factory or architecture on the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from pydantic import JsonValue


def parse_settings(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, JsonValue]:
    """Parse the values of --set, KEY=JSON; a value that is not JSON is text. Raises click.BadParameter without a `=`."""
    settings: dict[str, JsonValue] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not KEY=JSON; write {text}=VALUE")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings
