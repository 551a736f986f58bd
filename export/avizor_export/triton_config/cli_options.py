"""Define the options of `avizor export` that set how a model is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import click

from avizor_export.triton_config.settings import QueueTimeoutAction, ServingOptions, ServingSettings, Target

_default = ServingSettings()
_positive, _from_zero = click.IntRange(min=1), click.IntRange(min=0)

# Each value is None by default: a setting without an option keeps the previous version's value. Help shows a first version's.
_OPTIONS = (
    click.option(
        "--target",
        type=click.Choice(get_args(Target)),
        show_default=_default.target,
        help="Device to serve on. auto: a GPU if the server has one, else the CPU.",
    ),
    click.option(
        "--max-batch-size",
        type=_positive,
        show_default=str(_default.max_batch_size),
        help="Most items in one run of the model.",
    ),
    click.option(
        "--preferred-batch-size",
        "preferred_batch_sizes",
        type=_from_zero,
        multiple=True,
        help="Batch size that runs at once, without waiting for more items. May be repeated; 0 removes all.",
    ),
    click.option(
        "--instances",
        type=_positive,
        show_default=str(_default.instances),
        help="Copies of the model that run side by side.",
    ),
    click.option(
        "--queue-delay-us",
        type=_from_zero,
        show_default=str(_default.queue_delay_us),
        help="How long a request may wait for others to share a batch with (microseconds).",
    ),
    click.option(
        "--max-queue-size",
        type=_from_zero,
        show_default="0, no limit",
        help="Most requests that may wait. More are rejected.",
    ),
    click.option(
        "--queue-timeout-ms",
        type=_from_zero,
        show_default="0, no limit",
        help="How long a request may wait (milliseconds).",
    ),
    click.option(
        "--queue-timeout-action",
        type=click.Choice(get_args(QueueTimeoutAction)),
        show_default=_default.queue_timeout_action,
        help="What happens to a request that waited longer: reject it, or delay it until all others have run.",
    ),
    click.option(
        "--timeout-override/--no-timeout-override",
        "allow_timeout_override",
        default=None,
        show_default="timeout-override",
        help="Let a request set a shorter timeout.",
    ),
    click.option(
        "--response-cache/--no-response-cache",
        default=None,
        show_default="no-response-cache",
        help="Answer repeated inputs from the server's cache.",
    ),
    click.option(
        "--threads",
        "intra_op_threads",
        type=_from_zero,
        show_default="1 for a small network, else 0",
        help="CPU threads for one run of the model. 0 is one for each core.",
    ),
)


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets their values by name."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen_options(values: dict[str, Any]) -> ServingOptions:
    """Return those of the serving options that the user gave. values: of all of them, by name."""
    return cast(ServingOptions, {key: value for key, value in values.items() if value not in (None, ())})
