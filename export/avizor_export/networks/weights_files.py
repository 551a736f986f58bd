"""Read weights files of torch.save or safetensors, without running code from them: every tensor by its name."""

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

# How torch reports that a pickle would call something, and what.
_MORE_THAN_TENSORS = re.compile("Unsupported (global|class)|Trying to|Can only|not an allowed|disallowed", re.IGNORECASE)
_CALLED_NAME = re.compile(r"GLOBAL (\S+)")

# Ending of the name of a module's extra state, which may be anything.
_EXTRA_STATE = "_extra_state"
# Most levels of mappings within mappings. No checkpoint has more, and a mapping could hold itself.
_MOST_LEVELS = 8

# Classes that training scripts save beside their weights, and that torch does not allow by itself. They only hold values:
# creating one opens, imports and calls nothing. A Windows path can be created on Windows only, a pure one everywhere.
_VALUE_CLASSES: list[Any] = [
    argparse.Namespace,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
    *(
        (path_class, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name, path_class in (
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

    tensors: by name; the keys of mappings within mappings are joined by dots. unnamed: how many tensors each list holds, by the
    name of the list.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    unnamed: Mapping[str, int] = field(default_factory=dict)


def read_weights(path: Path) -> WeightsFile:
    """Read every tensor of the file, to the CPU.

    Raises ExportError if it is missing, is not a weights file, is damaged, holds no tensors, or would run code.
    """
    if not path.exists():
        raise ExportError(f"{path} does not exist; write the path of a weights file")
    kind = kind_of(path)
    if kind == Kind.SAFETENSORS:
        return WeightsFile(path, _read_safetensors(path))
    if kind not in (Kind.TORCH, Kind.UNKNOWN):
        raise _wrong_kind_error(path, kind)
    try:
        with torch.serialization.safe_globals(_VALUE_CLASSES):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the errors of a damaged file share no base class
        raise _unreadable_error(path, error) from error
    if not isinstance(content, Mapping):
        raise ExportError(f"{path} holds a {type(content).__name__}; save model.state_dict()")
    tensors: dict[str, Tensor] = {}
    for name, value in _named_tensors(content):
        if name in tensors:
            raise ExportError(f"{path} holds two tensors named {name}; save model.state_dict()")
        tensors[name] = value
    if not tensors:
        raise ExportError(f"{path}: {_why_no_tensors(content)}; save model.state_dict()")
    return WeightsFile(path, tensors, dict(_lists_of_tensors(content)))


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


def _named_tensors(content: Mapping[object, object], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in mappings, with the keys that lead to it joined by dots."""
    for key, value in content.items():
        if not isinstance(key, str):  # as in the state of an optimiser
            continue
        if isinstance(value, Tensor) or key.endswith(_EXTRA_STATE):
            yield prefix + key, value  # type: ignore[misc]
        elif isinstance(value, Mapping) and depth < _MOST_LEVELS:
            yield from _named_tensors(value, f"{prefix}{key}.", depth + 1)


def _lists_of_tensors(content: object, name: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Yield the name of each list of tensors and how many it holds. Some averages of weights (EMA) are saved as lists."""
    if depth > _MOST_LEVELS:
        return
    if isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(value, Mapping | list | tuple):
                yield from _lists_of_tensors(value, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(content, list | tuple):
        if count := sum(isinstance(value, Tensor) and value.is_floating_point() for value in content):
            yield name, count
        for value in content:
            if isinstance(value, Mapping):
                yield from _lists_of_tensors(value, name, depth + 1)


def _why_no_tensors(content: Mapping[object, object]) -> str:
    """Return what the file holds instead of tensors: its first entry."""
    for name, value in content.items():
        if not isinstance(name, str):
            return f"{name!r} (a {type(name).__name__}) is not the name of a parameter"
        return f"{name!r} is a {type(value).__name__}, not a tensor"
    return "it holds nothing"


def _wrong_kind_error(path: Path, kind: Kind) -> ExportError:
    if kind == Kind.SAFETENSORS_INDEX:
        return ExportError(
            f"{path} is the index of a checkpoint in several files; join them into one with: {_join_command(path)}"
        )
    return ExportError(f"{path} {kind.value}, not a weights file; {how_to_export(path, kind)}")


def _join_command(index: Path) -> str:
    """Return the command that joins the files of a checkpoint into one, and what to do with that."""
    joined = index.parent / "whole.safetensors"
    code = (
        "import json, pathlib, sys; from safetensors.torch import load_file, save_file; i = pathlib.Path(sys.argv[1]); "
        "save_file({k: v for f in sorted(set(json.loads(i.read_text())['weight_map'].values())) "
        "for k, v in load_file(i.parent / f).items()}, sys.argv[2])"
    )
    return f"{shlex.join(['python', '-c', code, str(index), str(joined)])} ; then give --weights {shlex.quote(str(joined))}"


def _unreadable_error(path: Path, error: Exception) -> ExportError:
    if isinstance(error, pickle.UnpicklingError) and _MORE_THAN_TENSORS.search(str(error)):
        called = _CALLED_NAME.search(str(error))
        what = f"{called[1]} besides tensors" if called else "more than tensors"
        converted = path.with_name(f"{path.stem}-weights.pt")
        command = shlex.join(["python", "-m", "avizor_export.networks.trusted_file", str(path), str(converted)])
        return ExportError(
            f"{path} holds {what}, and loading it would run code from the file; where it was trained, save the weights alone "
            f"with torch.save(model.state_dict(), path), or, if you trust the file, convert it with: {command} ; then give "
            f"--weights {shlex.quote(str(converted))}"
        )
    if not path.stat().st_size:
        return ExportError(f"{path} is not a weights file that can be read: it is empty; save it again with torch.save")
    # torch's own message would advise loading it without that protection
    reason = "it is damaged, or was not saved by torch" if isinstance(error, pickle.UnpicklingError) else one_line(error)
    return ExportError(f"{path} is not a weights file that can be read: {reason}; save it again with torch.save")
