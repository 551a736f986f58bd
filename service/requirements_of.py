"""Print what extras of avizor need, a requirement a line: python requirements_of.py EXTRA... Reads ./pyproject.toml.

The Dockerfile installs these before the code is there, so that a change of the code does not install them again.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path


def requirements(extras: Iterable[str], project: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    """Yield the requirements of extras, also where they name one another. Raises KeyError for one that there is not."""
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            if named := re.fullmatch(r"avizor\[(.+)\]", requirement):
                yield from requirements(named[1].split(","), project)
            else:
                yield requirement


def main() -> None:
    """Print them, those of every install first."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    print(*project["dependencies"], *requirements(sys.argv[1:], project), sep="\n")


if __name__ == "__main__":
    main()
