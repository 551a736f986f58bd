"""Define the options of commands that run workers: `avizor batch`, `avizor retry`."""

from __future__ import annotations

import click
from pydantic import ByteSize, TypeAdapter

from avizor_inference.finite_range import FiniteRange
from avizor_pipeline.engine_wait import ENGINE_WAIT_S
from avizor_pipeline.failure_limit import FILES_BEFORE_STOP
from avizor_pipeline.runners.local import FILE_TIMEOUT_S
from avizor_pipeline.runners.open_runner import LOCAL, RAY

workers_option = click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    show_default="one for each core",
    help="Worker processes; with Ray on all machines together.",
)

runner_option = click.option(
    "--runner",
    type=click.Choice([LOCAL, RAY]),
    default=LOCAL,
    show_default=True,
    help="Where workers run: on this machine, or on those of a Ray cluster.",
)

ray_address_option = click.option(
    "--ray-address",
    metavar="HOST:PORT",
    show_default="RAY_ADDRESS, else the cluster of this machine, else a new one",
    help="Head of the Ray cluster.",
)

file_timeout_option = click.option(
    "--file-timeout-s",
    metavar="S",
    type=FiniteRange(min=0, min_open=True),
    default=FILE_TIMEOUT_S,
    help="Seconds without anything new from a file's decoder, after which the file is a dead letter.",
)

engine_wait_option = click.option(
    "--engine-wait-s",
    metavar="S",
    type=FiniteRange(min=0),
    default=ENGINE_WAIT_S,
    help="Seconds for which an engine that goes away while the job runs is waited for.",
)


# Bytes that a process may be limited to: the system counts them in 63 bits, and what is reserved comes to them.
_MOST = 2**60


def _bytes_of(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Return a size in bytes. Raises BadParameter."""
    if value is None:
        return None
    try:
        if not value[-1:].isalpha():
            raise ValueError
        size = int(TypeAdapter(ByteSize).validate_python(value))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{value!r} is not a size; write it like 2GiB or 1500MiB", context, option) from error
    if size > _MOST:
        raise click.BadParameter(f"{value!r} is more than any machine has; write it like 2GiB or 1500MiB", context, option)
    return size


memory_option = click.option(
    "--memory",
    metavar="SIZE",
    callback=_bytes_of,
    show_default="no ceiling",
    help="Most memory of all processes of the job on a machine, like 2GiB: it decides batches and workers.",
)

max_failed_option = click.option(
    "--max-failed",
    metavar="SHARE",
    type=FiniteRange(0, 1),
    show_default="any share",
    help=f"Stop if more than this share of files cannot be read: after {FILES_BEFORE_STOP} files of the run, and at its end.",
)
