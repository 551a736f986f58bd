"""State dicts: read without running code from the file, found within a checkpoint, and loaded."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from avizor_inference.errors import ExportError

# How torch says that a pickle names something to be called, and what.
_MORE_THAN_TENSORS = re.compile("Unsupported (global|class)|Trying to|Can only|not an allowed|disallowed", re.IGNORECASE)
_NAMED = re.compile(r"GLOBAL (\S+)")

# Where a checkpoint keeps the weights, among an optimiser's state and figures.
_USUAL_KEYS = frozenset({"state_dict", "model_state_dict", "model"})
# What data parallelism and torch.compile put before the names of what they wrap.
_WRAPPERS = re.compile(r"(module\.|_orig_mod\.)+")
# A module's own state, which may be anything.
_EXTRA = "_extra_state"
_MOST_NAMES = 3


def read_state(path: Path) -> Mapping[str, Tensor]:
    """A state dict, alone or within a checkpoint. Raises ExportError; a file that would run code is refused."""
    if not path.exists():
        raise ExportError(f"{path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the errors that a damaged file gives share no base class
        raise _unreadable(path, error) from error
    if not isinstance(content, Mapping):
        raise ExportError(f"{path} holds a {type(content).__name__}; save model.state_dict()")
    state = _weights_among(content, path)
    for name, value in state.items():
        if not isinstance(name, str):
            raise ExportError(f"{path}: {name!r} (a {type(name).__name__}) is no name of a parameter; save model.state_dict()")
        if not isinstance(value, Tensor) and not name.endswith(_EXTRA):
            raise ExportError(f"{path}: {name!r} is a {type(value).__name__} and no tensor; save model.state_dict()")
    return state


def load_weights(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a state dict that was read from `origin`. Raises ExportError naming what does not fit."""
    state = unwrapped(state, network)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        why = _differences(network.state_dict(), state) or _line(error)
        raise ExportError(f"{origin} does not fit the network: {why}") from error


def unwrapped(state: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """The state dict under the names that the network has, where data parallelism or torch.compile put something before."""
    if not state.keys().isdisjoint(network.state_dict()) or not all(map(_WRAPPERS.match, state)):
        return state
    return {_WRAPPERS.sub("", name, count=1): value for name, value in state.items()}


def _weights_among(content: Mapping[str, object], path: Path) -> Mapping[str, Tensor]:
    states: dict[str, Mapping[str, Tensor]] = {key: value for key, value in content.items() if _is_state(value)}  # type: ignore[misc]
    usual = {key: value for key, value in states.items() if key in _USUAL_KEYS}
    chosen = usual if len(usual) == 1 else states
    if len(chosen) > 1:
        raise ExportError(
            f"{path} holds the weights of several networks: {', '.join(map(str, chosen))}; save the one to export"
        )
    return next(iter(chosen.values()), content)  # type: ignore[arg-type]


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and (isinstance(each, Tensor) or name.endswith(_EXTRA)) for name, each in value.items())
    )


def _unreadable(path: Path, error: Exception) -> ExportError:
    if isinstance(error, pickle.UnpicklingError) and _MORE_THAN_TENSORS.search(str(error)):
        named = _NAMED.search(str(error))
        what = f"{named[1]} besides tensors" if named else "more than tensors"
        return ExportError(
            f"{path} holds {what}, and loading it would run code from the file; save the weights with "
            "torch.save(model.state_dict(), path)"
        )
    if isinstance(error, EOFError) and not path.stat().st_size:
        return ExportError(f"{path} is not a weights file that can be read: it is empty; save it again with torch.save")
    # torch's own words would advise to load it without that protection
    why = "it is damaged, or was not saved by torch" if isinstance(error, pickle.UnpicklingError) else _line(error)
    return ExportError(f"{path} is not a weights file that can be read: {why}; save it again with torch.save")


def _differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    shapes = [
        f"{name} is {list(given[name].shape)} and the network's {list(value.shape)}"
        for name, value in wanted.items()
        if name in given and isinstance(value, Tensor) and given[name].shape != value.shape
    ]
    parts = []
    if lacking := sorted(wanted.keys() - given.keys()):
        parts.append(f"it lacks {_some(lacking)}")
    if unknown := sorted(given.keys() - wanted.keys()):
        parts.append(f"the network has no {_some(unknown)}")
    if shapes:
        parts.append(_some(shapes, "; "))
    return "; ".join(parts)


def _some(names: Iterable[str], separator: str = ", ") -> str:
    first, rest = (names := list(names))[:_MOST_NAMES], len(names) - _MOST_NAMES
    return separator.join(first) + (f" and {rest} more" if rest > 0 else "")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
