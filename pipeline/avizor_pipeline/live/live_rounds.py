"""Make rounds of the files that arrive: the first at once, and then at most one in some seconds.

So the number of parts is bounded by time, however many files come, and what comes while a round is young waits for the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from avizor_inference.items.dataset import Entry
from avizor_pipeline.live.arrivals import Arrivals
from avizor_pipeline.live.calibration_watch import CalibrationWatch, Pins
from avizor_pipeline.live.stop_request import StopRequest
from avizor_pipeline.plan import written_round
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard, shards
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.rounds import store_round
from avizor_pipeline.sinks.write_errors import writing


def add_round(out: OutputPath, number: int, entries: Sequence[Entry], pins: Pins) -> None:
    """Add a round of these files to the output folder. Raises JobError if the disk refuses it."""
    file = written_round(iter(entries), pins)
    assert file  # there are entries
    with file, writing(out):
        store_round(out, file, number)


@dataclass
class LiveRounds:
    """Makes rounds of arrivals. The output folder is held.

    rounds: number of those that are there. every_s: least seconds from one round to the next. on_round: is called with the
    entries of each round.
    """

    settings: JobSettings
    out: OutputPath
    rounds: int
    arrivals: Arrivals
    calibrations: CalibrationWatch
    every_s: float
    stop: StopRequest
    on_round: Callable[[Sequence[Entry]], None]

    def shards(self, still_held: Callable[[], None]) -> Iterator[Shard | None]:
        """Yield the shards of rounds until the job is asked to stop; None when there is nothing for now.

        still_held: raises JobError if the output folder is not that of the job any more. Raises JobError.
        """
        next_at = 0.0
        while not self.stop:
            pins = self.calibrations.pins()
            if time.monotonic() < next_at or not (entries := self.arrivals.take()):
                yield None
                continue
            next_at = time.monotonic() + self.every_s
            still_held()
            self.rounds += 1
            add_round(self.out, self.rounds, entries, pins)
            self.on_round(entries)
            for shard in shards(self.settings, entries, self.rounds, pins):
                yield shard
                if self.stop:
                    return
