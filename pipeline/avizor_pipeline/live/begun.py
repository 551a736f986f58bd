"""Read what earlier runs of a live job have planned."""

from __future__ import annotations

from typing import NamedTuple

from avizor_pipeline.known_files import KnownFiles
from avizor_pipeline.live.calibration_watch import Pins
from avizor_pipeline.live.known_states import KnownStates
from avizor_pipeline.plan import Plan, counted
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.sinks.output_files import OutputPath
from avizor_pipeline.sinks.rounds import last_calibrations, read_states, round_files


class Begun(NamedTuple):
    """Holds the plan over the rounds that are there, the files in them, and the calibrations of the last one."""

    plan: Plan
    known: KnownStates
    pins: Pins


def read_begun(settings: JobSettings, out: OutputPath) -> Begun:
    """Return what is planned in an output folder; nothing if it is empty. Raises JobError if a round is damaged."""
    rounds = round_files(out)
    states = [read_states(file) for file in rounds]
    plan = counted(settings, rounds, None, KnownFiles(states).moved)
    return Begun(plan, KnownStates(states), last_calibrations(rounds))
