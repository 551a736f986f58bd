"""Run models over whole datasets, in bounded memory, into Parquet tables. No torch, no server.

The names below are what users import. Each loads when it is used:

    settings = JobRequest(datasets=("sounds",), models=("machine-sound",)).to_settings()
    outcome = Outcome()
    for commit in run_job(settings, Path("results"), plan_job(settings), LocalRunner(workers=2)):
        outcome.add(commit)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import avizor_inference  # noqa: F401 - it keeps ONNX Runtime from reporting, and so comes first

if TYPE_CHECKING:
    from avizor_pipeline.job import run_job as run_job
    from avizor_pipeline.job_outcome import Outcome as Outcome
    from avizor_pipeline.plan import (
        Plan as Plan,
    )
    from avizor_pipeline.plan import (
        plan_job as plan_job,
    )
    from avizor_pipeline.request import JobRequest as JobRequest
    from avizor_pipeline.runners.local import LocalRunner as LocalRunner
    from avizor_pipeline.settings import JobSettings as JobSettings
    from avizor_pipeline.sinks.part_files import (
        Commit as Commit,
    )
    from avizor_pipeline.sinks.part_files import (
        SourceCount as SourceCount,
    )
    from avizor_pipeline.sinks.tables import TABLES as TABLES

# Where each name lives. A module is imported when one of its names is used for the first time.
_HOMES = {
    "run_job": "avizor_pipeline.job",
    "Outcome": "avizor_pipeline.job_outcome",
    "Plan": "avizor_pipeline.plan",
    "plan_job": "avizor_pipeline.plan",
    "JobRequest": "avizor_pipeline.request",
    "LocalRunner": "avizor_pipeline.runners.local",
    "JobSettings": "avizor_pipeline.settings",
    "Commit": "avizor_pipeline.sinks.part_files",
    "SourceCount": "avizor_pipeline.sinks.part_files",
    "TABLES": "avizor_pipeline.sinks.tables",
}

__all__ = sorted(_HOMES)


if not TYPE_CHECKING:  # or mypy would take any name for one of the face

    def __getattr__(name: str) -> Any:
        """Import a name of the face when it is used for the first time."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return __all__
