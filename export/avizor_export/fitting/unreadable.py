"""Read what can be read: items that cannot be are left out and named together, up to a share that may be an accident."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from avizor_export.fitting.folder import NormalItems
from avizor_inference.error_text import named
from avizor_inference.errors import DatasetError, InvalidInput, MediaError
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.dataset import Entry
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Content
from avizor_inference.items.object_files import check_store

_log = logging.getLogger(__name__)

MOST_UNREADABLE = 0.05  # as a share of the items; more is no accident
_ADVICE = "; fix or remove the file"
_WITH_REASON = 5  # reasons that are told
_BY_NAME = 20  # items that are named with each of them, and those with other ones


class _Problem(NamedTuple):
    """Holds what is wrong. place: the item, or the part of a file that it is in, if that cannot be opened."""

    place: str
    reason: str


class Unreadable:
    """Collects the items that cannot be read, of those that are read through it."""

    def __init__(self, items: NormalItems) -> None:
        self._items = items
        self._problems: dict[int, _Problem] = {}
        self._read = set[int]()

    @property
    def count(self) -> int:
        """Return how many could not be read so far."""
        return len(self._problems)

    def contents(self, numbers: Sequence[int]) -> Iterator[tuple[int, Entry, Content]]:
        """Yield the items of these numbers as NormalItems does, without those that cannot be opened."""
        left = self._items.in_reading_order(numbers)
        self._read.update(left)
        while left:
            done = 0
            try:
                for found in self._items.contents(left):
                    yield found
                    done += 1
                return
            except DatasetError as error:
                # A part is read from its beginning, so that what follows in it would meet the same error.
                lost = self._items.together(left[done:])
                for number in lost:
                    self._note(number, str(error))
                left = left[done + len(lost) :]

    def recordings(self, numbers: Sequence[int], spec: InputSpec) -> Iterator[NormalRecording]:
        """Yield the items of these numbers as a model sees them, without those that cannot be read."""
        return (recording for _, recording in self.numbered(numbers, spec))

    def numbered(self, numbers: Sequence[int], spec: InputSpec) -> Iterator[tuple[int, NormalRecording]]:
        """Yield the same, each with its number."""
        for number, entry, content in self.contents(numbers):
            recording = None
            with self.noting(number):
                recording = self._items.recording(entry, content, spec)
            if recording is not None:
                yield number, replace(recording, source=self._items.sources[number])

    @contextmanager
    def noting(self, number: int) -> Iterator[None]:
        """Take note of what the block raises about an item."""
        try:
            yield
        except DatasetError as error:
            self._note(number, str(error))
        except (MediaError, InvalidInput, OSError) as error:
            check_store()
            self._note(number, f"{self._items.name(number)}: {error}")

    def _note(self, number: int, problem: str) -> None:
        reason, name = problem.removesuffix(_ADVICE), self._items.name(number)
        place = next((each for each in (name, self._items.part(number)) if reason.startswith(f"{each}: ")), name)
        self._problems[number] = _Problem(place, reason.removeprefix(f"{place}: "))

    def refuse_many(self, which: str = "") -> None:
        """Raise DatasetError if more than MOST_UNREADABLE of the items, or all, could not be read. which: of them, in words.

        Also for one file of many items, such as a table: nobody knows how many of them would be missing.
        """
        if whole := {number: problem for number, problem in self._problems.items() if self._items.is_file_of_many(number)}:
            raise DatasetError(f"{self._named(whole, 'files')}; fix or remove the file{'s' * (len(whole) > 1)}")
        count, of = self.count, len(self._read)
        if count > max(1, MOST_UNREADABLE * of) or (count and count == of):
            named = self._named(self._problems)
            raise DatasetError(
                f"{self._where}: {count} of {of} items{which} cannot be read: {named}; that is no accident: fix or remove them"
            )

    def leave_out(self) -> bool:
        """Take those that could not be read off the list, and warn of them. Return whether there were any.

        Raises DatasetError if they are too many. The numbers of the others change, and a new look begins.
        """
        self.refuse_many()
        if not self._problems:
            return False
        self.warn()
        self._items.leave_out(self._problems)
        self._problems, self._read = {}, set()
        return True

    def warn(self) -> None:
        """Warn of those that could not be read; of each once, however often it is tried."""
        if new := {number: problem for number, problem in self._problems.items() if number not in self._items.told}:
            self._items.told.update(new)
            _log.warning("%s: %d of the items cannot be read, and are left out: %s", self._where, len(new), self._named(new))

    def _named(self, problems: Mapping[int, _Problem], plural: str = "items") -> str:
        """Return the items in words: for some reasons those of each together, then others by their name alone."""
        by_reason: dict[str, list[str]] = {}
        for place, reason in problems.values():
            by_reason.setdefault(reason, []).append(place)
        groups = [*by_reason.items()]
        told = [_group(reason, places, plural) for reason, places in groups[:_WITH_REASON]]
        others = [place for _, places in groups[_WITH_REASON:] for place in places]
        return "; ".join([*told, *([f"and {_names(others)}"] if others else [])])

    @property
    def _where(self) -> str:
        return self._items.where.name


def _group(reason: str, places: Sequence[str], plural: str) -> str:
    """Return items with one reason in words; one alone without a count."""
    return f"{places[0]}: {reason}" if len(places) == 1 else f"{len(places)} {plural} ({_names(places)}): {reason}"


def _names(places: Sequence[str]) -> str:
    """Return the first of these names, each once, and how many more there are."""
    return named([*dict.fromkeys(places)], _BY_NAME)
