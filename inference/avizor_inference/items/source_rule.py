"""Find the source of a file: the name, of a machine for example, under which calibration and metrics are kept."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import PurePath

from avizor_inference.errors import SettingsError
from avizor_inference.items.file_access import name_of

DEFAULT_SOURCE = "default"


@dataclass(frozen=True)
class SourceRule:
    """Derives the source from a file's path relative to the dataset's folder, with `/` between its parts.

    pattern: a regular expression that is searched in the path; its first group is the source. If it is empty, the source is the
    first folder of the path. A path without a source has the source `default`.

    Letters with accents are one character each (NFC), as keyboards write them in --source and in lists of labels. In names of
    files that come from a Mac they often are two, which look the same.
    """

    pattern: str = ""
    _compiled: re.Pattern[str] | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.pattern:
            return
        try:
            compiled = re.compile(self.pattern)
        except re.error as error:
            raise SettingsError(f"source pattern {self.pattern!r} is not a regular expression: {error}") from error
        if compiled.groups < 1:
            raise SettingsError(f"source pattern {self.pattern!r} has no group; put the source in parentheses")
        object.__setattr__(self, "_compiled", compiled)

    def source_of(self, relative: PurePath | str) -> str:
        """Return the source of the file at `relative` as valid Unicode, whatever its name on disk (`name_of`).

        As a text it is one that a path gives.
        """
        text = unicodedata.normalize("NFC", str(relative))
        if self._compiled:
            match = self._compiled.search(text)
            return name_of((match.group(1) if match else None) or DEFAULT_SOURCE)
        first, slash, _ = text.partition("/")
        return name_of(first or slash) if slash else DEFAULT_SOURCE
