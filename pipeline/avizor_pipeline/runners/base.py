"""Define what a runner is. The job knows this interface, and nothing of where its workers are."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.part_files import Commit
from avizor_pipeline.sinks.section_files import SectionRecord

# What comes of a shard, or of a section of a long file.
Done = Commit | SectionRecord


class Runner(Protocol):
    """Processes shards and sections, each with `section_run.run_task`.

    A worker opens the context for it with `job_context.open_context`.
    """

    @property
    def workers_elsewhere(self) -> bool:
        """Return whether workers may run on other machines."""

    def run(self, shards: Iterator[Shard], settings: JobSettings, out: OutputPath) -> Generator[Done, None, None]:
        """Yield the commit of each shard, or the record of each section, when it is finished, in any order.

        Closing the generator ends all workers at once.

        A worker that dies is replaced. A file that kills each worker that reads it, or gives nothing for too long, becomes a
        dead letter. Raises JobError if workers die for another reason, and what a worker raises. What is committed stays.
        """


class SizedRunner(Runner, Protocol):
    """Is a runner of workers that can be counted."""

    @property
    def workers(self) -> int:
        """Return the number of worker processes, on all machines together."""

    @property
    def workers_of_a_machine(self) -> int:
        """Return the largest number of worker processes on one machine."""

    def limited(self, workers_of_a_machine: int, worker_bytes: int) -> SizedRunner:
        """Return a runner of at most so many workers on each machine, each of which may have so much memory by itself."""
