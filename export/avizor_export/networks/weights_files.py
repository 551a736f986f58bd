"""Weights files: what torch.save or safetensors wrote, read without running code from them, and every tensor by its name."""

from __future__ import annotations

import argparse
import datetime
import pathlib
import pickle
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from avizor_export.networks.file_kinds import Kind, how_to_export, kind_of
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError

# How torch says that a pickle names something to be called, and what.
_MORE_THAN_TENSORS = re.compile("Unsupported (global|class)|Trying to|Can only|not an allowed|disallowed", re.IGNORECASE)
_NAMED = re.compile(r"GLOBAL (\S+)")

# A module's own state, which may be anything.
_EXTRA = "_extra_state"
# Mappings within mappings: more have no checkpoints, and one could hold itself.
_DEEPEST = 8

# What training scripts save beside their weights, and torch does not know. Each only holds values: to make one opens, imports
# and calls nothing. A Windows path cannot be made elsewhere; the pure one can.
_HOLDS_VALUES: list[Any] = [
    argparse.Namespace,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
    *(
        (made, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name, made in (
            ("PosixPath", pathlib.PurePosixPath),
            ("PurePosixPath", pathlib.PurePosixPath),
            ("WindowsPath", pathlib.PureWindowsPath),
            ("PureWindowsPath", pathlib.PureWindowsPath),
        )
    ),
]


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a file.

    tensors: by name; of mappings within mappings the keys are joined by dots. unnamed: how many tensors lie in lists, by the
    name of the list.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    unnamed: Mapping[str, int] = field(default_factory=dict)


def read_weights(path: Path) -> WeightsFile:
    """Every tensor of the file. Raises ExportError; a file that would run code is refused."""
    if not path.exists():
        raise ExportError(f"{path} does not exist")
    kind = kind_of(path)
    if kind == Kind.SAFETENSORS:
        return WeightsFile(path, _read_safetensors(path))
    if kind not in (Kind.TORCH, Kind.UNKNOWN):
        raise _of_other_kind(path, kind)
    try:
        with torch.serialization.safe_globals(_HOLDS_VALUES):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the errors that a damaged file gives share no base class
        raise _unreadable(path, error) from error
    if not isinstance(content, Mapping):
        raise ExportError(f"{path} holds a {type(content).__name__}; save model.state_dict()")
    tensors: dict[str, Tensor] = {}
    for name, value in _named(content):
        if name in tensors:
            raise ExportError(f"{path} holds two tensors named {name}; save model.state_dict()")
        tensors[name] = value
    if not tensors:
        raise ExportError(f"{path}: {_without_tensors(content)}; save model.state_dict()")
    return WeightsFile(path, tensors, dict(_unnamed(content)))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise ExportError(
            f"{path} is not a safetensors file that can be read: {one_line(error)}; fetch or save it again"
        ) from error
    if not tensors:
        raise ExportError(f"{path} holds no tensors; save model.state_dict() with safetensors.torch.save_file")
    return tensors


def _named(content: Mapping[object, object], before: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if not isinstance(key, str):  # as in the state of an optimiser
            continue
        if isinstance(value, Tensor) or key.endswith(_EXTRA):
            yield before + key, value  # type: ignore[misc]
        elif isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _named(value, f"{before}{key}.", depth + 1)


def _unnamed(content: object, name: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Lists of tensors, as some averages (EMA) are kept: the name of each, and how many it holds."""
    if depth > _DEEPEST:
        return
    if isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(value, Mapping | list | tuple):
                yield from _unnamed(value, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(content, list | tuple):
        if count := sum(isinstance(each, Tensor) and each.is_floating_point() for each in content):
            yield name, count
        for each in content:
            if isinstance(each, Mapping):
                yield from _unnamed(each, name, depth + 1)


def _without_tensors(content: Mapping[object, object]) -> str:
    for name, value in content.items():
        if not isinstance(name, str):
            return f"{name!r} (a {type(name).__name__}) is not the name of a parameter"
        return f"{name!r} is a {type(value).__name__} and no tensor"
    return "it holds nothing"


def _of_other_kind(path: Path, kind: Kind) -> ExportError:
    if kind == Kind.SAFETENSORS_INDEX:
        return ExportError(
            f"{path} is the index of a checkpoint in several files; join them into one with: {_join_command(path)}"
        )
    return ExportError(f"{path} {kind.value}, and no weights file; {how_to_export(path, kind)}")


def _join_command(index: Path) -> str:
    whole = index.parent / "whole.safetensors"
    code = (
        "import json, pathlib, sys; from safetensors.torch import load_file, save_file; i = pathlib.Path(sys.argv[1]); "
        "save_file({k: v for f in sorted(set(json.loads(i.read_text())['weight_map'].values())) "
        "for k, v in load_file(i.parent / f).items()}, sys.argv[2])"
    )
    return f"{shlex.join(['python', '-c', code, str(index), str(whole)])} ; then give --weights {shlex.quote(str(whole))}"


def _unreadable(path: Path, error: Exception) -> ExportError:
    if isinstance(error, pickle.UnpicklingError) and _MORE_THAN_TENSORS.search(str(error)):
        named = _NAMED.search(str(error))
        what = f"{named[1]} besides tensors" if named else "more than tensors"
        made = path.with_name(f"{path.stem}-weights.pt")
        command = shlex.join(["python", "-m", "avizor_export.networks.trusted_file", str(path), str(made)])
        return ExportError(
            f"{path} holds {what}, and loading it would run code from the file; where it was trained, save the weights alone "
            f"with torch.save(model.state_dict(), path), or, if you trust the file, convert it with: {command} ; then give "
            f"--weights {shlex.quote(str(made))}"
        )
    if not path.stat().st_size:
        return ExportError(f"{path} is not a weights file that can be read: it is empty; save it again with torch.save")
    # torch's own words would advise to load it without that protection
    why = "it is damaged, or was not saved by torch" if isinstance(error, pickle.UnpicklingError) else one_line(error)
    return ExportError(f"{path} is not a weights file that can be read: {why}; save it again with torch.save")
