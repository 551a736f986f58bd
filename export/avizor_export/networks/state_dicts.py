"""Find a network's state dict among the tensors of a weights file by the network's names, and load it.

The names in a file are longer than the network's: they begin with the key of a checkpoint (`state_dict.`), the attribute of a
Lightning module (`model.`), or what data parallelism (`module.`) and torch.compile (`_orig_mod.`) add. All are handled alike:
as a prefix under which the file has every name of the network, with the same shape. If there are several such prefixes, as
when a file has averaged weights too, the user has to choose.

They may be shorter, too: a module that holds the trained network, and changes what it returns, has `network.` before all names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from avizor_export.networks.weights_files import WeightsFile
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError

_log = logging.getLogger(__name__)

# The key of a file's top level.
TOP = "."
# What wrappers put into names, in the middle too if only a part of the network was wrapped.
_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Batch norm counts its batches, and needs the count in training only. Files of old versions lack it.
_NOT_NEEDED = "num_batches_tracked"
_MOST_NAMES = 3


@dataclass(frozen=True)
class Match:
    """A prefix under which a file has the network's weights.

    state: under the network's names. surplus: names under the prefix that the network does not have.
    """

    prefix: str
    state: Mapping[str, Tensor]
    surplus: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Return the prefix as a user writes it with --weights-key."""
        return self.prefix.rstrip(".") or TOP


def load_weights(network: nn.Module, weights: WeightsFile, key: str | None = None) -> str:
    """Load the network's weights from the file, and return the key under which the file has them.

    key: the user's choice among several sets of weights. Warns of tensors that are left out. Raises ExportError naming what
    does not fit, or the keys to choose from.
    """
    expected = network.state_dict()
    match = _single_match(matches(expected, weights.tensors, key), weights, key) or _wrapped_match(expected, weights, key)
    if match is None or match.surplus:
        differences = _differences(expected, nearest(expected, weights.tensors, key))
        raise ExportError(f"{weights.path} does not fit the network: {differences}")
    try:
        network.load_state_dict(dict(match.state))
    except RuntimeError as error:
        raise ExportError(f"{weights.path} does not fit the network: {one_line(error)}") from error
    if left_out := _left_out(expected, weights, match):
        _log.warning("%s: the network's weights are those under %r; left out: %s", weights.path, match.key, ", ".join(left_out))
    return match.key


def matches(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], key: str | None = None) -> list[Match]:
    """Return every prefix under which `tensors` has all that `expected`, the network's state dict, has, in the same shapes.

    If there is none, names are compared without the parts that wrappers add. key: only prefixes under this key.
    """
    if exact := _matches(expected, tensors, key):
        return exact
    network_names, file_tensors = _unwrapped(expected), _unwrapped(tensors)
    if network_names is None or file_tensors is None:
        return []
    key = key and (_WRAPPERS.sub("", _plain(key) + ".") or TOP)
    original_names = dict(zip(network_names, expected, strict=True))
    return [
        Match(match.prefix, {original_names[name]: value for name, value in match.state.items()}, match.surplus)
        for match in _matches(network_names, file_tensors, key)
    ]


def nearest(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], key: str | None = None) -> Match:
    """Return the prefix under which `tensors` has most of the network's names, with all tensors under it."""
    counts = {prefix: count for prefix, count in _prefixes(expected, tensors).items() if key is None or _is_under(prefix, key)}
    best = max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")
    return Match(best, {name.removeprefix(best): value for name, value in tensors.items() if name.startswith(best)})


def _wrapped_match(expected: Mapping[str, Tensor], weights: WeightsFile, key: str | None) -> Match | None:
    """Return the match of a file with the weights of the one module that the network holds; None if it has other names.

    Raises ExportError if the file has more than these: a layer of the same shapes may then be another one.
    """
    wrapper = f"{_first_part(next(iter(expected), ''))}."
    if not all(name.startswith(wrapper) for name in expected):
        return None
    inner = {name.removeprefix(wrapper): value for name, value in expected.items()}
    match = _single_match(matches(inner, weights.tensors, key), weights, key) or _wrapped_match(inner, weights, key)
    if match is None or match.surplus:
        return None
    if key is None and (left_out := _left_out(inner, weights, match)):
        raise ExportError(
            f"{weights.path} does not fit the network, whose names all begin with {wrapper!r}; without that they are those "
            f"under {match.key!r}, beside {', '.join(left_out)}: if these are its weights, give --weights-key {match.key}"
        )
    return Match(match.prefix, {wrapper + name: value for name, value in match.state.items()})


def _matches(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], key: str | None) -> list[Match]:
    tied_names = _tied_names(expected)
    states: dict[str, dict[str, Tensor]] = {}
    for prefix in _prefixes(expected, tensors):
        state = {name: tensors[prefix + name] for name in expected if prefix + name in tensors}
        for name in expected.keys() - state.keys():
            if stored_names := [tied for tied in tied_names.get(name, ()) if tied in state]:
                state[name] = state[stored_names[0]]
        lacking = [name for name in expected if name not in state and not name.endswith(_NOT_NEEDED)]
        if not lacking and all(_same_shape(expected[name], value) for name, value in state.items()):
            states[prefix] = state
    all_matches = [Match(prefix, state, _surplus(prefix, expected, tensors, states)) for prefix, state in states.items()]
    if key is None:
        return all_matches
    exact = [match for match in all_matches if match.key == _plain(key)]
    return exact or [match for match in all_matches if _is_under(match.prefix, key)]


def _prefixes(expected: Mapping[str, Tensor], tensors: Iterable[str]) -> dict[str, int]:
    """Return every text that comes before a name of the network in the file, and before how many names."""
    counts: dict[str, int] = {}
    for name in tensors:
        start = 0
        while True:
            if name[start:] in expected:
                counts[name[:start]] = counts.get(name[:start], 0) + 1
            start = name.find(".", start) + 1
            if not start:
                break
    return counts


def _surplus(
    prefix: str, expected: Mapping[str, Tensor], tensors: Iterable[str], states: Mapping[str, Mapping[str, Tensor]]
) -> list[str]:
    """Return the names under the prefix that the network does not have, without those of another set of weights."""
    inner = {_first_part(other.removeprefix(prefix)) for other in states if other != prefix and other.startswith(prefix)}
    names = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
    return [name for name in names if name not in expected and _first_part(name) not in inner]


def _single_match(candidates: Sequence[Match], weights: WeightsFile, key: str | None) -> Match | None:
    """Return the only match, or the first if all hold the same values; None if there is none.

    Raises ExportError if the user has to choose, or if the file has nothing under the user's key.
    """
    if not candidates:
        if key not in (None, TOP) and not any(_is_under(name, key) for name in weights.tensors):
            top_level = _shortened_list(sorted({_first_part(name) for name in weights.tensors}))
            raise ExportError(f"{weights.path} has nothing under {key!r} (--weights-key); at its top level are {top_level}")
        return None
    if len(candidates) > 1 and not all(_same_values(candidates[0].state, other.state) for other in candidates[1:]):
        keys = [match.key for match in candidates]
        raise ExportError(
            f"{weights.path} holds {len(keys)} sets of weights that fit the network, one may be an average of "
            f"the others (EMA); choose with --weights-key {' or --weights-key '.join(keys)}"
        )
    return candidates[0]


def _left_out(expected: Mapping[str, Tensor], weights: WeightsFile, match: Match) -> list[str]:
    """Return what is not loaded, in words: other sets of the network's names as one each, and other tensors by name."""
    used = {id(value) for value in match.state.values()}
    names = [name for name, value in weights.tensors.items() if id(value) not in used and not name.endswith(_NOT_NEEDED)]
    counts = _prefixes(expected, names)
    sets = [prefix for prefix, count in counts.items() if prefix and count >= len(expected) / 2]
    others = [name for name in names if not any(name.startswith(prefix) for prefix in sets)]
    parts = [f"{prefix.rstrip('.')} ({counts[prefix]} tensors)" for prefix in sets]
    parts += [_shortened_list(others)] if others else []
    return parts + [f"{count} tensors without names under {name}" for name, count in weights.unnamed.items()]


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the tensors under names without the parts that wrappers add; None if two would then have the same name."""
    plain = {_WRAPPERS.sub("", name): value for name, value in tensors.items()}
    return plain if len(plain) == len(tensors) else None


def _tied_names(expected: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return all names of a tensor that has several, by each of them. A file may hold such a tensor under one name only."""
    names_by_memory: dict[tuple[int, tuple[int, ...]], list[str]] = {}
    for name, value in expected.items():
        if isinstance(value, Tensor) and not is_lazy(value) and not value.is_meta:
            names_by_memory.setdefault((value.data_ptr(), tuple(value.shape)), []).append(name)
    return {name: names for names in names_by_memory.values() if len(names) > 1 for name in names}


def _same_shape(expected: object, actual: object) -> bool:
    if not (isinstance(expected, Tensor) and isinstance(actual, Tensor)):  # a module's extra state, which may be anything
        return True
    return is_lazy(expected) or expected.shape == actual.shape


def _same_values(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(
        torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]
        for name, value in one.items()
        if name in other
    )


def _is_under(name: str, key: str) -> bool:
    """Return whether a prefix, or a tensor's name, is under the key."""
    return name == "" if key == TOP else name.startswith(_plain(key) + ".")


def _plain(key: str) -> str:
    return key.rstrip(".") or TOP


def _first_part(name: str) -> str:
    return name.partition(".")[0]


def _differences(expected: Mapping[str, Tensor], match: Match) -> str:
    """Return in words what the match lacks, has besides, or has in other shapes."""
    state = match.state
    shapes = [
        f"{name} is {list(state[name].shape)} and the network's {list(value.shape)}"
        for name, value in expected.items()
        if name in state and not _same_shape(value, state[name])
    ]
    parts = []
    lacking = sorted(name for name in expected.keys() - state.keys() if not name.endswith(_NOT_NEEDED))
    if lacking:
        parts.append(f"it lacks {_shortened_list(lacking)}")
    if unknown := sorted(state.keys() - expected.keys()):
        parts.append(f"the network has no {_shortened_list(unknown)}")
    if shapes:
        parts.append(_shortened_list(shapes, "; "))
    if unknown and len(parts) == 1:
        parts.append("name a network that has it too, or save the weights without it")
    return "; ".join(parts) + (f" (under {match.key!r})" if match.prefix else "")


def _shortened_list(names: Sequence[str], separator: str = ", ") -> str:
    rest = len(names) - _MOST_NAMES
    return separator.join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
