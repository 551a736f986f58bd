"""What `avizor doctor` says of one thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# `absent`: not installed, or not possible on this machine, which is no fault. `wrong`: it is there, and does not work.
State = Literal["ok", "absent", "wrong", "not asked"]


@dataclass(frozen=True)
class Finding:
    """Holds what was found of one thing.

    what: in words. remedy: what to do, "" for nothing. is_needed: the command fails unless it is ok. details: for `--json`.
    below: in words, below findings that have told some of it; "" if none has.
    """

    name: str
    state: State
    what: str
    remedy: str = ""
    is_needed: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    below: str = ""

    @property
    def is_failure(self) -> bool:
        """Return whether the command fails for this."""
        return self.is_needed and self.state != "ok"

    @property
    def text(self) -> str:
        """Return what was found, and what to do."""
        return f"{self.what}; {self.remedy}" if self.remedy else self.what
