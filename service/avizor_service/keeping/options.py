"""Define the options of `avizor serve` that keep what is flagged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from avizor_service.settings import Settings

_DEFAULTS = Settings(models=Path("models"))

# The options by the heading under which `avizor serve --help` shows them.
GROUP = {"Kept for a look": ("keep_flagged", "keep_flagged_max_mib", "keep_flagged_max_days")}

Command = Callable[..., Any]


def keep_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--keep-flagged",
        metavar="DIR",
        type=click.Path(path_type=Path),
        default=_DEFAULTS.keep_flagged,
        show_default="nothing is kept",
        help="Keep the last flagged items of each source in this folder, with the sound around alarms, for `avizor review DIR` "
        "and `avizor report DIR`.",
    ),
    click.option(
        "--keep-flagged-max-mib",
        metavar="MIB",
        type=click.IntRange(min=1),
        default=_DEFAULTS.keep_flagged_max_mib,
        help="Most that is kept, in MiB. Beyond that the oldest item goes, of whichever source has most.",
    ),
    click.option(
        "--keep-flagged-max-days",
        metavar="DAYS",
        type=click.FloatRange(min=0, min_open=True, max=36_500),
        default=_DEFAULTS.keep_flagged_max_days,
        help="Days after which a kept item is removed.",
    ),
)
