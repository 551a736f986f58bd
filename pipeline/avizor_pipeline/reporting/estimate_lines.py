"""Write what a dry run estimates as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from avizor_inference.items.windows import ChannelMode
from avizor_pipeline.estimate import Estimate
from avizor_pipeline.models import JobModel
from avizor_pipeline.reporting.progress import counted, size
from avizor_pipeline.reporting.surprises import surprise_lines


def estimate_lines(found: Estimate, models: Sequence[JobModel], channels: ChannelMode) -> Iterator[str]:
    """Yield the lines that say what a job of these models would come to."""
    is_left = found.shards_left > 0 or not found.finished_items
    windows = f", {counted(found.windows, 'window row')}" if any(model.format for model in models) else ""
    by = " and ".join(["the records of finished shards"] * (found.finished_items > 0) + ["the headers of the files"] * is_left)
    yield f"{counted(found.items, 'item')}{windows}, by {by}"
    if found.unknown:
        yield f"{counted(found.unknown, 'file')} of unknown length: about {counted(found.more_windows, 'window row')} more"
    if found.finished_dead_letters:
        yield f"{counted(found.finished_dead_letters, 'dead letter')} in finished shards"
    if found.unreadable:
        yield f"{counted(found.unreadable, 'file')} without a header that can be read: dead letters"
    if not found.shards_left:
        yield "nothing is left to do"
        return
    for line in surprise_lines(found, channels):
        yield f"of what was run, {line}"
    time = timedelta(seconds=max(1, round(found.seconds)))
    yield (
        f"about {size(found.bytes)} and {time} for {counted(found.shards_left, 'shard')}, by {found.shards_run} of them "
        "that were run to see (their results are removed)"
    )
