"""errors.py: one tree of errors: all that is raised on purpose is in it, and it is drawn as it is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from types import ModuleType

import avizor_cli
import avizor_export
import avizor_inference
import avizor_pipeline
import avizor_service
from avizor_inference import errors

PACKAGES = (avizor_inference, avizor_export, avizor_pipeline, avizor_service, avizor_cli)


def errors_defined_in(module: ModuleType) -> list[str]:
    return [
        f"{module.__name__}.{name}"
        for name, each in vars(module).items()
        if inspect.isclass(each) and issubclass(each, BaseException) and each.__module__ == module.__name__
    ]


def test_every_error_is_defined_in_the_one_file_and_drawn_there() -> None:
    names = [info.name for package in PACKAGES for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    outside = [error for name in names for error in errors_defined_in(importlib.import_module(name))]
    assert [error for error in outside if not error.startswith(f"{errors.__name__}.")] == []
    defined = {name for name, each in vars(errors).items() if inspect.isclass(each)}
    drawn = set(re.findall(r"(?:── |^    )(\w+)", errors.__doc__ or "", re.MULTILINE))
    assert drawn == defined
