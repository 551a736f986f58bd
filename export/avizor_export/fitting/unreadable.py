"""Read what can be read: items that cannot be are left out and named together, up to a share that may be an accident."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from avizor_export.fitting.folder import NormalItems
from avizor_inference.errors import DatasetError, InvalidInput, MediaError
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.dataset import Entry
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Content
from avizor_inference.items.object_files import check_store

_log = logging.getLogger(__name__)

MOST_UNREADABLE = 0.05  # as a share of the items; more is no accident
_ADVICE = "; fix or remove the file"
_WITH_REASON = 5  # items that are named with what is wrong with them
_BY_NAME = 20  # and by their name alone


class Unreadable:
    """Collects the items that cannot be read, of those that are read through it."""

    def __init__(self, items: NormalItems) -> None:
        self._items = items
        self._problems: dict[int, str] = {}
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
                self._note(left[done], str(error))
                left = left[done + 1 :]

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
                yield number, NormalRecording(self._items.sources[number], recording.windows, recording.is_short)

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
        self._problems[number] = problem.removesuffix(_ADVICE)

    def refuse_many(self, which: str = "") -> None:
        """Raise DatasetError if more than MOST_UNREADABLE of the items, or all, could not be read. which: of them, in words.

        Also for one file of many items, such as a table: nobody knows how many of them would be missing.
        """
        if whole := {number: problem for number, problem in self._problems.items() if self._items.is_file_of_many(number)}:
            raise DatasetError(f"{self._named(whole)}; fix or remove the file{'s' * (len(whole) > 1)}")
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

    def _named(self, problems: Mapping[int, str]) -> str:
        """Return the items in words: some with what is wrong with them, some by their name, and how many more there are."""
        shown = [*problems.values()][:_WITH_REASON]
        others = [self._items.name(number) for number in [*problems][_WITH_REASON : _WITH_REASON + _BY_NAME]]
        more = len(problems) - len(shown) - len(others)
        also = [f"and {', '.join(others)}" + (f" and {more} more" if more else "")] if others else []
        return "; ".join([*shown, *also])

    @property
    def _where(self) -> str:
        return self._items.where.name
