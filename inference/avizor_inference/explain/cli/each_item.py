"""Go through the items of a command, and on when one of them cannot be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from avizor_inference.errors import DatasetError, MediaError, RequestError

# They are about one file: it cannot be read, has no such window, or is not what the model takes.
_OF_AN_ITEM = (MediaError, RequestError, DatasetError)

# As of a batch job: finished, but not with every item.
_SOME_FAILED = 3


def each_item(items: Sequence[Path], look_at: Callable[[Path], None]) -> None:
    """Call `look_at` for each item. One that cannot be looked at is named on standard error, and the others are looked at.

    The command then ends with exit code 3, or 1 if there is none that can be. An only item raises its own error.
    """
    failed = 0
    for item in items:
        try:
            look_at(item)
        except _OF_AN_ITEM as error:
            if len(items) == 1:
                raise
            failed += 1
            text = str(error)
            click.echo(f"Error: {text if str(item) in text else f'{item}: {text}'}", err=True)
    if failed:
        click.echo(f"{failed} of {len(items)} items could not be looked at", err=True)
        click.get_current_context().exit(1 if failed == len(items) else _SOME_FAILED)
