"""The ranges of pyproject.toml leave pip little to try: where two packages need a third one, their newest versions fit it."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from support.environment import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def range_of(name: str, lines: list[str]) -> Requirement:
    return next(each for each in map(Requirement, lines) if each.name == name)


def test_no_protobuf_is_allowed_that_the_client_of_triton_refuses() -> None:
    theirs = range_of("protobuf", requires("tritonclient") or [])
    above = [each.version for each in theirs.specifier if each.operator == "<"]
    assert above
    assert not any(range_of("protobuf", PROJECT["dependencies"]).specifier.contains(version) for version in above)


@pytest.mark.parametrize("package", ["grpcio-health-checking", "grpcio-reflection"])
def test_no_helper_of_grpc_is_allowed_that_needs_a_newer_protobuf(package: str) -> None:
    """Those from 1.82 on need protobuf 7: pip tried each of them with each version of other packages, for many minutes."""
    ours = range_of(package, PROJECT["optional-dependencies"]["gateway"]).specifier
    assert ours.contains("1.81.1")
    assert not any(ours.contains(version) for version in ("1.82.1", "1.85.1"))
