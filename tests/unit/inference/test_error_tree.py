"""errors.py: one tree of errors: all that is raised on purpose is in it, and it is drawn as it is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import avizor_pipeline
import avizor_service
from avizor_inference import errors


def tree(kind: type[errors.AvizorError]) -> list[type[errors.AvizorError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in tree(child))]


def test_every_error_is_defined_in_the_one_file_and_drawn_there() -> None:
    for package in (avizor_pipeline, avizor_service):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    names = [
        kind.__name__ for kind in tree(errors.AvizorError) if kind.__module__.startswith(("avizor_pipeline", "avizor_service"))
    ]
    assert names == []
    defined = {name for name, each in vars(errors).items() if inspect.isclass(each)}
    drawn = set(re.findall(r"(?:── |^    )(\w+)", errors.__doc__ or "", re.MULTILINE))
    assert drawn == defined
