"""Fit a planned run under --memory: what `avizor batch` and `avizor retry` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from avizor_pipeline.memory_share import arrange
from avizor_pipeline.plan import Plan
from avizor_pipeline.reporting.memory_lines import arrangement_lines, memory_notes
from avizor_pipeline.runners.base import SizedRunner
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import OutputPath


class Fitted(NamedTuple):
    """Holds settings, plan and runner of a run that fits, and lines that say how."""

    settings: JobSettings
    plan: Plan
    runner: SizedRunner
    notes: Sequence[str]


def under_ceiling(
    settings: JobSettings, out: OutputPath, plan: Plan, runner: SizedRunner, ceiling: int | None, *, pinned: bool
) -> Fitted:
    """Fit a run under a ceiling in bytes; None: there is none. pinned: see `arrange`. Raises SettingsError."""
    if ceiling is None:
        return Fitted(settings, plan, runner, memory_notes(runner.workers_of_a_machine))
    arranged = arrange(settings, out, plan, runner.workers_of_a_machine, ceiling, pinned=pinned)
    runner = runner.limited(arranged.workers, arranged.worker_bytes)
    return Fitted(arranged.settings, arranged.plan, runner, arrangement_lines(arranged))
