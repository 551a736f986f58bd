"""Define what a source of items is. The job knows this interface, and nothing of what is behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from avizor_inference.items.dataset import Entry
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.kinds.base import Content


class Source(Protocol):
    """Lists a dataset again and again, also in other processes, and opens its entries."""

    def list(self, left_out: LeftOut | None = None) -> Iterator[Entry]:
        """Yield the entries, each time in the same order. Count in `left_out` what is not read. Raises DatasetError."""

    def kinds(self, entry: Entry) -> tuple[str, ...]:
        """Return what the items of an entry are taken for, by names in CONTENTS: a .wav file is audio, and a signal too."""

    def is_one_row(self, entry: Entry) -> bool:
        """Return whether an object need not be fetched to know that it is one row for each model that takes it."""

    def expect(self, entries: Sequence[Entry]) -> None:
        """Begin to read these, if reading ahead pays: they are opened in this order."""

    def wait(self, entry: Entry) -> None:
        """Wait for what is read ahead of an entry. Errors are left to `open`."""

    def open(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """Yield each item of an entry, once for each of its kinds, with its content for `decode.stream_rows`.

        Raises MediaError if the entry cannot be opened, StoreUnavailable if an object store cannot be reached.
        """
