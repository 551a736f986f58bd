"""The sources that have a series of their own in the metrics. Bounded: a client cannot make up new ones without end."""

from __future__ import annotations

OTHER = "other"


class BoundedSources:
    """Folds every source that is not known into `other`."""

    def __init__(self, named: tuple[str, ...] = ()) -> None:
        self._known = set(named)

    def add(self, sources: tuple[str, ...]) -> None:
        """Know more, those of a calibration say."""
        self._known.update(sources)

    def label(self, source: str) -> str:
        """The source itself if it is known."""
        return source if source in self._known else OTHER

    def all(self) -> list[str]:
        """Every value that `label` can give."""
        return sorted(self._known | {OTHER})
