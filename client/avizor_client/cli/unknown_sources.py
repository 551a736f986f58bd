"""Say that a source is unknown to the calibration that judged its items: it may be new, or mistyped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from avizor_client.answers import Model
from avizor_client.cli.output import counted, printable

# The one source of a calibration that does not tell sources apart: it is used for any.
_ONLY = "default"
_NAMED = 10  # sources of a calibration
_SHOWN = 5  # unknown ones, each with a line


class UnknownSources:
    """Counts the items of named sources that the calibration of a model does not have."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: tuple[str, ...] = ()
        self._counts = Counter[str]()

    def judged(self, source: str, calibration_id: str) -> None:
        """Take note of one item that a calibration has judged. source: as the gateway was told it; "" if it was not."""
        of_id = {each.id: each for each in self._model.calibrations}
        calibration = of_id.get(calibration_id, self._model.calibration)
        if not source or calibration is None or source in calibration.recordings or [*calibration.recordings] == [_ONLY]:
            return
        self._known = tuple(calibration.recordings)
        self._counts[source] += 1

    def lines(self, what: str = "") -> Iterator[str]:
        """Yield what was unknown, which sources there are, and what was used instead. what: is compared, if not items."""
        named, more = ", ".join(map(printable, self._known[:_NAMED])), len(self._known) - _NAMED
        known = named + (f" and {more} more" if more > 0 else "")
        for source, count in self._counts.most_common(_SHOWN):
            items = what or f"{counted(count, 'item')} {'was' if count == 1 else 'were'}"
            unknown = f"the calibration of {self._model.name} has no source {printable(source)!r}, but {known}"
            yield (
                f"Note: {unknown}: {items} compared with those of all sources together, for which no false-alarm rate is "
                "promised"
            )
        if (others := len(self._counts) - _SHOWN) > 0:
            yield f"Note: {others} more sources are unknown, too"
