"""Check which outputs of a model a request asks for, and how large its answer may become, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avizor_inference.errors import AnswerTooLarge, UnknownOutput
from avizor_inference.items.tensor_spec import TensorSpec

# Bytes of an answer for each window, besides outputs and classes: its span, its score and p-value, and what frames them.
WINDOW_BYTES = 128


def requested_outputs(outputs: Mapping[str, TensorSpec], names: Sequence[str]) -> tuple[str, ...]:
    """Return the outputs that a request names, each once. Raises UnknownOutput, naming the element of `outputs`.

    outputs: those of the model, by name.
    """
    for number, name in enumerate(names):
        if name not in outputs:
            has = ", ".join(outputs)
            raise UnknownOutput(f"the model has no output {name!r}; it has {has}", field=f"outputs[{number}]")
    return tuple(dict.fromkeys(names))


def bytes_of(outputs: Mapping[str, TensorSpec], names: Sequence[str]) -> int:
    """Return the size of these outputs for one window in bytes. One that the model does not have, the engine refuses."""
    return sum(outputs[name].item_bytes for name in names if name in outputs)


def union(own: Sequence[str], named: Sequence[str]) -> list[str]:
    """Return the outputs that are computed: those that the RPC needs, and those that the request names."""
    return list(dict.fromkeys([*own, *named]))


def check_answer(size: int, windows: int, names: Sequence[str], limit_mib: int) -> None:
    """Raise AnswerTooLarge if an answer of so many windows may have more than `limit_mib` MiB. size: of one window in bytes."""
    if (size := size * windows) > limit_mib << 20:
        raise AnswerTooLarge(
            f"{windows} windows of {', '.join(names)} have {size / 2**20:.0f} MiB, and this gateway computes at most "
            f"{limit_mib} MiB for a call; send fewer items or shorter recordings, or name fewer outputs",
            field="items",
        )
