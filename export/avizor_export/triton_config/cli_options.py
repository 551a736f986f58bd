"""The options of `avizor export` that settle how a model is served, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import click

from avizor_export.triton_config.settings import QueueTimeoutAction, ServingOptions, ServingSettings, Target

_usual = ServingSettings()
_positive, _from_zero = click.IntRange(min=1), click.IntRange(min=0)

# Every default is None: what is not given stays as the model's config.pbtxt has it.
_OPTIONS = (
    click.option("--target", type=click.Choice(get_args(Target)), help="auto: a GPU where there is one."),
    click.option("--max-batch-size", type=_positive, help=f"Most items in one run.  [{_usual.max_batch_size}]"),
    click.option(
        "--preferred-batch-size",
        "preferred_batch_sizes",
        type=_from_zero,
        multiple=True,
        help="Run at this size at once; 0: none.",
    ),
    click.option("--instances", type=_positive, help=f"Copies of the model side by side.  [{_usual.instances}]"),
    click.option("--queue-delay-us", type=_from_zero, help=f"Longest wait for company in a batch.  [{_usual.queue_delay_us}]"),
    click.option("--max-queue-size", type=_from_zero, help="Requests that may wait; more are turned away.  [0: no limit]"),
    click.option("--queue-timeout-ms", type=_from_zero, help="How long a request may wait.  [0: no limit]"),
    click.option("--queue-timeout-action", type=click.Choice(get_args(QueueTimeoutAction)), help="What becomes of it then."),
    click.option(
        "--timeout-override/--no-timeout-override",
        "allow_timeout_override",
        default=None,
        help="Let a request bring a shorter timeout of its own.  [yes]",
    ),
    click.option("--response-cache/--no-response-cache", default=None, help="Answer a seen input from the server's cache."),
    click.option("--threads", "intra_op_threads", type=_from_zero, help="Threads of one run on the CPU.  [0: one a core]"),
)


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets the value of each by name."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given(options: dict[str, Any]) -> ServingOptions:
    """Those of the options that were given."""
    return cast(ServingOptions, {key: value for key, value in options.items() if value not in (None, ())})
