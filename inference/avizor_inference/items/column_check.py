"""Tell a mistyped column, which none of the tables has, from a table that lacks a column which others have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from avizor_inference.errors import ColumnMissing, DatasetError

# So many tables without the column, and none with it, are enough to know that it is mistyped.
_MOST_TABLES = 100

T = TypeVar("T")


class ColumnCheck(Generic[T]):
    """Keeps the tables that lack a column until another table has it: then they are listed, and reading them says why."""

    def __init__(self) -> None:
        self._is_found, self._kept, self._problem = False, list[T](), ""

    def items(self, file: T, name: str, items: Iterator[T]) -> Iterator[T]:
        """Yield the items of a table, or the table itself if it cannot be read. Raises DatasetError."""
        try:
            for item in items:
                if item is not file and not self._is_found:
                    self._is_found = True
                    yield from self._kept
                yield item
        except ColumnMissing as error:
            if self._is_found:
                yield file
                return
            self._kept.append(file)
            self._problem = self._problem or f"{name}: {error}"
            if len(self._kept) == _MOST_TABLES:
                self.end()

    def end(self) -> None:
        """Raise DatasetError if there are tables, and none of them has the column."""
        if self._kept and not self._is_found:
            others = f" ({len(self._kept)} tables lack it, and none has it)" if len(self._kept) > 1 else ""
            raise DatasetError(self._problem + others)
