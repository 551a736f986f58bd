"""Define what a runner is. The job knows this interface, and nothing of where its workers are."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sharding import Shard
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.part_files import Commit


class Runner(Protocol):
    """Processes shards, each with `shard_run.ShardRun` in a context that a worker opens with `job_context.open_context`."""

    def run(self, shards: Iterator[Shard], settings: JobSettings, out: OutputPath) -> Generator[Commit, None, None]:
        """Yield the commit of each shard when it is finished, in any order. Closing the generator ends all workers at once.

        A worker that dies is replaced. A file that kills each worker that reads it, or gives nothing for too long, becomes a
        dead letter. Raises JobError if workers die for another reason, and what a worker raises. What is committed stays.
        """
