"""Choose one tensor of what a network returns: a tensor, or tuples, dicts and objects that hold several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from torch import Tensor, nn

from avizor_inference.errors import ExportError

# Objects that hold objects are followed so far.
_DEEPEST = 4
_MOST_LISTED = 20


def tensors_in(output: object, depth: int = _DEEPEST) -> dict[str, Tensor]:
    """Return the tensors that an output holds, by their path: `logits`, `0` or `0.logits`. A tensor itself has the path ``."""
    if isinstance(output, Tensor):
        return {"": output}
    if depth == 0:
        return {}
    found = {}
    for name, part in _parts(output).items():
        for path, tensor in tensors_in(part, depth - 1).items():
            found[f"{name}.{path}" if path else name] = tensor
    return found


def tensor_at(output: object, path: str) -> Tensor | None:
    """Return the tensor at a path of `tensors_in`; None if there is none. A named tuple may be indexed by numbers too."""
    if not path:
        return output if isinstance(output, Tensor) else None
    parts = _parts(output)
    if isinstance(output, tuple):
        parts |= {str(index): part for index, part in enumerate(output)}
    for name, part in parts.items():
        if path == name or path.startswith(f"{name}."):
            found = tensor_at(part, path.removeprefix(name).removeprefix("."))
            if found is not None:
                return found
    return None


def choose_path(output: object, asked: str | None) -> str:
    """Return the path of the one tensor that a model is to return. asked: the user's choice, None for none.

    Raises ExportError that lists what there is, if the choice is missing or does not exist.
    """
    tensors = tensors_in(output)
    if isinstance(output, Tensor):
        if asked is not None:
            raise ExportError(
                f"--output {asked} chooses among several outputs, and the network returns one tensor; leave it out"
            )
        return ""
    if asked is not None:
        if tensor_at(output, asked) is None:
            raise ExportError(f"the network has no output {asked!r}; --output takes one of: {_listed(tensors)}")
        return asked
    if not tensors:
        raise ExportError(f"the network returns a {type(output).__name__} without a tensor; let it return one")
    if len(tensors) > 1:
        raise ExportError(
            f"the network returns a {type(output).__name__} of several tensors; choose one with --output: {_listed(tensors)}"
        )
    return next(iter(tensors))


def _parts(output: object) -> dict[str, object]:
    """Return what a container or object holds, by name or index; empty for anything else."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if isinstance(output, tuple | list):
        names = getattr(output, "_fields", range(len(output)))  # a named tuple has names
        return {str(name): value for name, value in zip(names, output, strict=True)}
    if is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, nn.Module) or not hasattr(output, "__dict__"):
        return {}
    return {name: value for name, value in vars(output).items() if not name.startswith("_")}


def _listed(tensors: Mapping[str, Tensor]) -> str:
    shown = [
        f"{path} {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
        for path, tensor in list(tensors.items())[:_MOST_LISTED]
    ]
    return ", ".join(shown) + (", ..." if len(tensors) > _MOST_LISTED else "")
