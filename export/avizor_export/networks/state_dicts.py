"""State dicts: found among the tensors of a weights file by the names that the network has, and loaded.

The names in a file have more before them than the network's: the key of a checkpoint (`state_dict.`), the attribute of a
Lightning module (`model.`), data parallelism (`module.`), torch.compile (`_orig_mod.`). Here it is all one: a prefix under
which the file has every name of the network, with the same shape. If there are several, as where averaged weights lie beside
the others, the user has to choose.
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

# How the top level of a file is written where a key is asked for.
TOP = "."
# What wrappers put into names, in the middle too where only a part of the network was wrapped.
_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Batch norm counts its batches, and does not need the count outside of training; files of old versions lack it.
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
        """The prefix as a user writes it."""
        return self.prefix.rstrip(".") or TOP


def load_weights(network: nn.Module, weights: WeightsFile, key: str | None = None) -> str:
    """Load what the file has for the network; gives the key under which it was found. Warns of tensors that are left out.

    key: what a user has chosen where there are several. Raises ExportError naming what does not fit, or what there is to
    choose from.
    """
    own = network.state_dict()
    match = _only(matches(own, weights.tensors, key), weights, key)
    if match is None or match.surplus:
        raise ExportError(f"{weights.path} does not fit the network: {_differences(own, nearest(own, weights.tensors, key))}")
    try:
        network.load_state_dict(dict(match.state))
    except RuntimeError as error:
        raise ExportError(f"{weights.path} does not fit the network: {one_line(error)}") from error
    if left_out := _left_out(own, weights, match):
        _log.warning("%s: the network's weights are those under %r; left out: %s", weights.path, match.key, ", ".join(left_out))
    return match.key


def matches(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], key: str | None = None) -> list[Match]:
    """Every prefix under which `tensors` has all that `own`, the network's state dict, has, in the same shapes."""
    found = _matches(own, tensors, key)
    if found:
        return found
    ours, theirs = _unwrapped(own), _unwrapped(tensors)
    if ours is None or theirs is None:
        return []
    key = key and (_WRAPPERS.sub("", _plain(key) + ".") or TOP)
    renamed = dict(zip(ours, own, strict=True))
    return [
        Match(match.prefix, {renamed[name]: value for name, value in match.state.items()}, match.surplus)
        for match in _matches(ours, theirs, key)
    ]


def nearest(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], key: str | None = None) -> Match:
    """Of all prefixes the one under which `tensors` has most of the network's names, and all that is there."""
    counts = {prefix: count for prefix, count in _prefixes(own, tensors).items() if key is None or _chosen(prefix, key)}
    prefix = max(counts, key=lambda each: (counts[each], -len(each)), default="")
    under = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return Match(prefix, under)


def _matches(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], key: str | None) -> list[Match]:
    twins = _tied(own)
    states: dict[str, dict[str, Tensor]] = {}
    for prefix in _prefixes(own, tensors):
        state = {name: tensors[prefix + name] for name in own if prefix + name in tensors}
        for name in own.keys() - state.keys():
            if there := [twin for twin in twins.get(name, ()) if twin in state]:
                state[name] = state[there[0]]
        lacking = [name for name in own if name not in state and not name.endswith(_NOT_NEEDED)]
        if not lacking and all(_same_shape(own[name], value) for name, value in state.items()):
            states[prefix] = state
    found = [Match(prefix, state, _surplus(prefix, own, tensors, states)) for prefix, state in states.items()]
    if key is None:
        return found
    exact = [match for match in found if match.key == _plain(key)]
    return exact or [match for match in found if _chosen(match.prefix, key)]


def _prefixes(own: Mapping[str, Tensor], tensors: Iterable[str]) -> dict[str, int]:
    """What stands before a name of the network, and before how many of them."""
    counts: dict[str, int] = {}
    for name in tensors:
        start = 0
        while True:
            if name[start:] in own:
                counts[name[:start]] = counts.get(name[:start], 0) + 1
            start = name.find(".", start) + 1
            if not start:
                break
    return counts


def _surplus(
    prefix: str, own: Mapping[str, Tensor], tensors: Iterable[str], states: Mapping[str, Mapping[str, Tensor]]
) -> list[str]:
    """Names under the prefix that the network does not have; those beside another set of weights belong to that."""
    inner = {_first(other.removeprefix(prefix)) for other in states if other != prefix and other.startswith(prefix)}
    names = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
    return [name for name in names if name not in own and _first(name) not in inner]


def _only(found: Sequence[Match], weights: WeightsFile, key: str | None) -> Match | None:
    """The one match; the first where all hold the same values. Raises ExportError where the user has to choose."""
    if not found:
        if key not in (None, TOP) and not any(_chosen(name, key) for name in weights.tensors):
            there = _some(sorted({_first(name) for name in weights.tensors}))
            raise ExportError(f"{weights.path} has nothing under {key!r} (--weights-key); at its top level are {there}")
        return None
    if len(found) > 1 and not all(_same_values(found[0].state, other.state) for other in found[1:]):
        keys = [match.key for match in found]
        raise ExportError(
            f"{weights.path} holds {len(keys)} sets of weights that fit the network, one may be an average of "
            f"the others (EMA); choose with --weights-key {' or --weights-key '.join(keys)}"
        )
    return found[0]


def _left_out(own: Mapping[str, Tensor], weights: WeightsFile, match: Match) -> list[str]:
    """What of the file is not loaded: other sets of the network's names as one, and other tensors by name."""
    used = {id(value) for value in match.state.values()}
    names = [name for name, value in weights.tensors.items() if id(value) not in used and not name.endswith(_NOT_NEEDED)]
    counts = _prefixes(own, names)
    sets = [prefix for prefix, count in counts.items() if prefix and count >= len(own) / 2]
    beside = [name for name in names if not any(name.startswith(prefix) for prefix in sets)]
    parts = [f"{prefix.rstrip('.')} ({counts[prefix]} tensors)" for prefix in sets]
    parts += [_some(beside)] if beside else []
    return parts + [f"{count} tensors without names under {name}" for name, count in weights.unnamed.items()]


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The same without the names of wrappers; None where two would then have one name."""
    plain = {_WRAPPERS.sub("", name): value for name, value in tensors.items()}
    return plain if len(plain) == len(tensors) else None


def _tied(own: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Of a name the others of the same tensor: a file may hold it once."""
    places: dict[tuple[int, tuple[int, ...]], list[str]] = {}
    for name, value in own.items():
        if isinstance(value, Tensor) and not is_lazy(value) and not value.is_meta:
            places.setdefault((value.data_ptr(), tuple(value.shape)), []).append(name)
    return {name: names for names in places.values() if len(names) > 1 for name in names}


def _same_shape(ours: object, theirs: object) -> bool:
    if not (isinstance(ours, Tensor) and isinstance(theirs, Tensor)):  # a module's extra state, which may be anything
        return True
    return is_lazy(ours) or ours.shape == theirs.shape


def _same_values(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(
        torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]
        for name, value in one.items()
        if name in other
    )


def _chosen(name: str, key: str) -> bool:
    """Whether a prefix, or a tensor's name, is under the key."""
    return name == "" if key == TOP else name.startswith(_plain(key) + ".")


def _plain(key: str) -> str:
    return key.rstrip(".") or TOP


def _first(name: str) -> str:
    return name.partition(".")[0]


def _differences(wanted: Mapping[str, Tensor], match: Match) -> str:
    given = match.state
    shapes = [
        f"{name} is {list(given[name].shape)} and the network's {list(value.shape)}"
        for name, value in wanted.items()
        if name in given and not _same_shape(value, given[name])
    ]
    parts = []
    lacking = sorted(name for name in wanted.keys() - given.keys() if not name.endswith(_NOT_NEEDED))
    if lacking:
        parts.append(f"it lacks {_some(lacking)}")
    if unknown := sorted(given.keys() - wanted.keys()):
        parts.append(f"the network has no {_some(unknown)}")
    if shapes:
        parts.append(_some(shapes, "; "))
    if unknown and len(parts) == 1:
        parts.append("name a network that has it too, or save the weights without it")
    return "; ".join(parts) + (f" (under {match.key!r})" if match.prefix else "")


def _some(names: Iterable[str], separator: str = ", ") -> str:
    first, rest = (names := list(names))[:_MOST_NAMES], len(names) - _MOST_NAMES
    return separator.join(first) + (f" and {rest} more" if rest > 0 else "")
