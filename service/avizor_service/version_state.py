"""Say of a version in the repository whether it is served, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, order=True)
class VersionState:
    """Holds the state of one version, in the words of the Open Inference Protocol.

    version: 0 for a whole model of which no version can be found, and for a folder that is no model. reason: why it is
    UNAVAILABLE; of a READY version empty, or why something new on disk is not used: a calibration, for example.
    """

    name: str
    version: int
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""

    @property
    def is_ready(self) -> bool:
        """Return whether it answers."""
        return self.state == "READY"
