"""Define the options of `avizor serve` that keep what is flagged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from avizor_inference.finite_range import FiniteRange
from avizor_service.settings import Settings

_DEFAULTS = Settings(models=Path("models"))

# The options by the heading under which `avizor serve --help` shows them.
GROUP = {"Kept for a look": ("keep_flagged", "keep_flagged_max_mib", "keep_flagged_max_days", "review_url")}

Command = Callable[..., Any]


def _checked_url(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    place = urlsplit(url)
    if url and (
        place.scheme not in ("http", "https") or not place.hostname or place.query or place.fragment or not url.isprintable()
    ):
        raise click.BadParameter("give an address such as https://review.example.org:8444/")
    return url and url.rstrip("/") + "/"


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
        type=FiniteRange(min=0, min_open=True, max=36_500),
        default=_DEFAULTS.keep_flagged_max_days,
        help="Days after which a kept item is removed.",
    ),
    click.option(
        "--review-url",
        metavar="URL",
        default=_DEFAULTS.review_url,
        show_default="alerts have no link",
        callback=_checked_url,
        help="Address at which people see what is kept: that of `avizor review DIR`. Alerts on a source link to it.",
    ),
)
