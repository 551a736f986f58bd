"""Keep beside a version what `avizor fit` made it from: the weights as torch has them, and the choices.

The file is in the version's folder, where engines and Triton do not look at it. It is of safetensors: reading it runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue
from safetensors import SafetensorError

from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError
from avizor_inference.repository.models import ModelVersion

if TYPE_CHECKING:
    from torch import Tensor

KEPT_FILE = "fit.safetensors"
_KEY = "fit"
# In the record of a version that a script of `--explain` made, which may have been changed.
BY_SCRIPT: Mapping[str, JsonValue] = {"made by": "a script"}
_LENGTH_BYTES = 8  # of the header's length, at the start of the file


@dataclass(frozen=True)
class Kept:
    """Holds what a version was made from.

    record: the choices, and what else is needed to go on. tensors: the state of the network, by the names of its modules.
    """

    record: Mapping[str, JsonValue]
    tensors: Mapping[str, Tensor]

    def files(self) -> dict[str, bytes]:
        """Return the file to publish with the version, by name: see ExportRequest.kept."""
        from safetensors.torch import save  # it imports torch, and what was kept is asked for before that

        tensors = {name: value.detach().contiguous().clone() for name, value in self.tensors.items()}
        return {KEPT_FILE: save(tensors, {_KEY: json.dumps(self.record)})}


def read_kept(version: ModelVersion) -> Kept:
    """Return what `avizor fit` kept beside a version. Raises ExportError if it did not make it, or the file is damaged."""
    from safetensors.torch import load

    path = version.folder / KEPT_FILE
    if not path.is_file():
        raise ExportError(
            f"version {version.version} of {version.name!r} was not made by `avizor fit`: {KEPT_FILE}, with the weights that "
            "training would go on from, is not beside it; fit a new model, or train that one where it was made"
        )
    try:
        data = path.read_bytes()
        return Kept(_record(data), load(data))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path}: cannot be read ({one_line(error)}); restore it, or fit the model again") from error


def _record(data: bytes) -> Mapping[str, JsonValue]:
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")])
    record: Mapping[str, JsonValue] = json.loads(header["__metadata__"][_KEY])
    return record
