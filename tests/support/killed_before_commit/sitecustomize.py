"""Kills a job between the rename of a shard's parts and its commit record, in every process that has this folder in PYTHONPATH.

AVIZOR_KILL says what is killed, `parent`, `worker` or `both`; AVIZOR_KILL_ONCE is a file that is there once that has happened.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from avizor_pipeline.sinks import part_files
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.part_files import Commit

_write_commit = part_files.write_commit


def killed_commit(out: OutputPath, commit: Commit, *, new: bool = False) -> None:
    victim, once = os.environ.get("AVIZOR_KILL"), Path(os.environ.get("AVIZOR_KILL_ONCE", ""))
    if new and victim and not once.exists():
        once.touch()
        if victim != "worker":
            os.kill(os.getppid(), signal.SIGKILL)
        if victim != "parent":
            os.kill(os.getpid(), signal.SIGKILL)
    _write_commit(out, commit, new=new)


part_files.write_commit = killed_commit
