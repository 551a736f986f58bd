"""Hold what was chosen, with the reason for each, and write it as lines for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GIVEN = "it was given"
_LINE = 100


@dataclass(frozen=True)
class Choice:
    """Holds one choice. name: in words. value: as it is shown. reason: a clause that follows `because`.

    is_given: whether a user made it.
    """

    name: str
    value: str
    reason: str
    is_given: bool = False

    @classmethod
    def given(cls, name: str, value: object) -> Choice:
        """Return a choice that a user made."""
        return cls(name, str(value), GIVEN, is_given=True)

    @property
    def why(self) -> str:
        """Return the reason as a clause that stands by itself."""
        return self.reason if self.is_given else f"because {self.reason}"


def choice_lines(choices: Sequence[Choice]) -> Iterator[str]:
    """Yield the choices as a table: name, value, and the reason."""
    names = max((len(choice.name) for choice in choices), default=0)
    values = min(max((len(choice.value) for choice in choices), default=0), 34)
    margin = 2 + names + 2 + values + 2
    for choice in choices:
        begin = f"  {choice.name:<{names}}  {choice.value:<{values}}  "
        if len(choice.value) > values:
            yield begin.rstrip()
            begin = " " * margin
        lines = textwrap.wrap(choice.why, max(40, _LINE - margin)) or [""]
        yield f"{begin}{lines[0]}".rstrip()
        yield from (" " * margin + line for line in lines[1:])


def changed_choices(now: Sequence[Choice], before: Sequence[Choice]) -> Iterator[str]:
    """Yield what these choices would do differently from earlier ones."""
    earlier = {choice.name: choice.value for choice in before}
    for choice in now:
        old = earlier.pop(choice.name, None)
        if old is None:
            yield f"{choice.name}: {choice.value}; it was not chosen then"
        elif old != choice.value:
            yield f"{choice.name}: {choice.value}; it was {old}"
    yield from (f"{name}: is not chosen now; it was {value}" for name, value in earlier.items())
