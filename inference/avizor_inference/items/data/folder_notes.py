"""Warn about the files of a folder: what was left out, clipped or distorted."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from avizor_inference.errors import DatasetError
from avizor_inference.items.audio import Level
from avizor_inference.items.file_access import name_of
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.source_rule import DEFAULT_SOURCE

_log = logging.getLogger(__name__)

# Files that a warning names; of more it gives only the number.
_NAMED = 3


@dataclass
class Notes:
    """Collects what is noticed while a folder is read, and warns of it once at the end."""

    left_out: LeftOut = field(default_factory=LeftOut)
    sources: Counter[str] = field(default_factory=Counter)  # files of each
    _loud: list[str] = field(default_factory=list)  # the first few of them
    _loud_files: int = 0
    _peak: float = 0.0
    _surprises: dict[str, list[str]] = field(default_factory=dict)  # what may surprise -> the first few files
    _surprising: Counter[str] = field(default_factory=Counter)

    def surprise(self, uri: str, note: str) -> None:
        """Note what may surprise in how a file became a row; "" is nothing."""
        if note:
            self._surprising[note] += 1
            if self._surprising[note] <= _NAMED:
                self._surprises.setdefault(note, []).append(uri)

    def level(self, uri: str, level: Level) -> None:
        """Note the level of a file."""
        if level.beyond:
            self._loud_files += 1
            self._peak = max(self._peak, level.peak)
            if self._loud_files <= _NAMED:
                self._loud.append(f"{uri} ({level.share_beyond:.2%} of its samples)")

    def warn(self, folder: Path, pattern: str = "") -> None:
        """Log what was noted. pattern: --source-pattern. Raises DatasetError if it matched no path."""
        where = name_of(str(folder))
        if pattern and (unmatched := self.sources[DEFAULT_SOURCE]):
            if unmatched == self.sources.total():
                raise DatasetError(f"{where}: --source-pattern {pattern!r} matches none of the paths of its {unmatched} files")
            _log.warning("%s: %d files do not match --source-pattern; their source is %r", where, unmatched, DEFAULT_SOURCE)
        if self.left_out.counts:
            _log.warning("%s: left out %s", where, self.left_out)
        for note, named in self._surprises.items():
            count = self._surprising[note]
            more = f" and {count - _NAMED} more" if count > _NAMED else ""
            _log.warning("%s: %s: %s%s", where, note, ", ".join(named), more)
        if self._loud_files:
            more = f" and {self._loud_files - _NAMED} more" if self._loud_files > _NAMED else ""
            _log.warning(
                "%s: samples beyond full scale, up to %.3g, are clipped to -1..1 in %s%s; scale such files to -1..1",
                where,
                self._peak,
                ", ".join(self._loud),
                more,
            )
