"""Save the tensors of a file that holds more than tensors: `python -m avizor_export.networks.trusted_file FILE WEIGHTS`.

This runs code from FILE, as every pickle may. `avizor export` itself never does: it takes the WEIGHTS that are written here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def tensors_of(content: object, name: str = "the file") -> object:
    """Return the tensors in `content`, which keep their mappings and lists; modules become state dicts. None if there are none.

    Prints what is left out and may have held more tensors: objects of a class that is not known here. name: of `content`, for
    that line.
    """
    if isinstance(content, Tensor):
        return content
    if isinstance(content, nn.Module):
        return dict(content.state_dict())
    if isinstance(content, Mapping):
        by_key = {key: tensors for key, value in content.items() if (tensors := tensors_of(value, str(key))) is not None}
        return by_key or None
    if isinstance(content, list | tuple):
        return [tensors for value in content if (tensors := tensors_of(value, name)) is not None] or None
    if type(content).__module__ != "builtins":
        print(f"left out: {name} (a {type(content).__qualname__})", file=sys.stderr)
    return None


def main() -> None:
    """Convert the file that the command line names."""
    if len(sys.argv) != 3:
        sys.exit("write: python -m avizor_export.networks.trusted_file FILE WEIGHTS")
    source, target = sys.argv[1:]
    try:
        tensors = tensors_of(torch.load(source, map_location="cpu", weights_only=False))  # the user trusts it
    except (ImportError, AttributeError) as error:
        sys.exit(f"{source}: {error}; run this from the folder of the code that saved it, with its packages installed")
    if tensors is None:
        sys.exit(f"{source} holds no tensors; name a file with trained weights")
    torch.save(tensors, target)


if __name__ == "__main__":
    main()
