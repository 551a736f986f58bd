"""Stop a job whose input is plainly wrong, before it has tried all of it."""

from __future__ import annotations

from dataclasses import dataclass

from avizor_inference.errors import JobError
from avizor_pipeline.job_outcome import Outcome
from avizor_pipeline.sinks.output_files import OutputPath, read_part
from avizor_pipeline.sinks.part_files import Commit, part_path

# Files of a run before its share of failures says anything: two shards of small files.
FILES_BEFORE_STOP = 100


@dataclass(frozen=True)
class FailureLimit:
    """Compares the share of files that could not be read with what is allowed. share: 0 to 1; None: any. out: of the job."""

    share: float | None
    out: OutputPath

    def check(self, outcome: Outcome, commit: Commit, *, is_last: bool) -> None:
        """Raise JobError if too many files of this run have failed. commit: of its last shard. is_last: all are done."""
        files = outcome.files_of_this_run
        failed = outcome.dead_letters - outcome.earlier_dead_letters
        if self.share is None or (files < FILES_BEFORE_STOP and not is_last) or failed <= self.share * files:
            return
        done = f"{'all' if is_last else 'the first'} {files} files"
        which = f"{failed} of {done}" if files > 1 else "the only file"
        raise JobError(
            f"{which} of this run could not be read, more than --max-failed {self.share:g} allows"
            f"{self._example(commit)}; see {self.out}/dead_letters, correct the files or the options, and run the same command "
            "again to go on; `avizor retry` does those files again"
        )

    def _example(self, commit: Commit) -> str:
        if not commit.dead_letters:
            return ""
        part = part_path(self.out, "dead_letters", commit.shard)
        message = read_part(part, ["message"]).column("message")[0].as_py()
        return f" ({message})"
