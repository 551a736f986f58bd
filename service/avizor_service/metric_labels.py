"""Bound the number of sources that have a separate series in the metrics: a client cannot add one."""

from __future__ import annotations

from collections.abc import Iterable

OTHER = "other"


class BoundedSources:
    """Maps each source to its label in the metrics: itself if it is known, else `other`."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = set(known)

    def add(self, sources: Iterable[str]) -> None:
        """Add known sources, for example those of a calibration."""
        self._known.update(sources)

    def label(self, source: str) -> str:
        """Return the label of a source that a client named."""
        return source if source in self._known else OTHER

    def all(self) -> list[str]:
        """Return every value that `label` may return, sorted."""
        return sorted(self._known | {OTHER})
