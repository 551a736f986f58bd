"""Open a published version that training is to go on from, and compare the new items with what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from avizor_export.fitting.folder import WORDS, NormalItems, Where, modality_of
from avizor_export.fitting.kept import KEPT_FILE, Kept, read_kept
from avizor_export.fitting.look import list_items
from avizor_export.front_ends.build import build_front_end
from avizor_export.request import ExportRequest
from avizor_inference.error_text import one_line
from avizor_inference.errors import DatasetError, ExportError
from avizor_inference.repository.models import ModelRepository, ModelVersion

# The weights are kept in full, and outputs differ by rounding alone.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Earlier:
    """Holds a published version, and what `avizor fit` kept beside it."""

    version: ModelVersion
    kept: Kept

    @property
    def is_classifier(self) -> bool:
        """Return whether it tells classes apart."""
        return self.version.manifest.task == "classify"

    def damaged(self, error: Exception) -> ExportError:
        """Return the error for what was kept, and does not fit."""
        return ExportError(
            f"{self.version.folder / KEPT_FILE} does not fit version {self.version.version} of {self.version.name!r} "
            f"({one_line(error)}); restore it, or fit the model again"
        )


def open_earlier(models: Path, name: str) -> Earlier:
    """Return the version of a model that is in force. Raises ModelNotFound, ExportError if `avizor fit` did not make it."""
    version = ModelRepository(models).served(name)
    version.verify()
    if version.manifest.precision != "fp32":
        raise ExportError(
            f"version {version.version} of {name!r} is {version.manifest.precision}; training goes on from fp32 weights: name "
            f"that version with `avizor models load {name} --version N`"
        )
    return Earlier(version, read_kept(version))


def list_new_items(earlier: Earlier, where: Where, seed: int) -> NormalItems:
    """List the items at a place. Raises DatasetError if they are of another kind than those that the version takes."""
    modality = earlier.version.manifest.input.modality
    items = list_items(where, modality, seed)
    if not len(items):
        raise DatasetError(
            f"{where.name} holds {WORDS[modality_of(where)]}, and {earlier.version.name!r} was fitted to {WORDS[modality]}; "
            "give items of its kind, or fit another model"
        )
    return items


def record_after(earlier: Earlier, items: NormalItems) -> Mapping[str, JsonValue]:
    """Return the record of the version that goes on from an earlier one. items: the new ones."""
    return {**earlier.kept.record, "folder": items.where.name, "items": items.listed, "improves": earlier.version.version}


def improving(request: ExportRequest, earlier: Earlier, items: NormalItems) -> ExportRequest:
    """Return a request that says which version it goes on from. items: the new ones."""
    arguments: dict[str, JsonValue] = {
        "improves version": earlier.version.version,
        "items": f"{len(items)} of {items.where.name}",
    }
    return replace(request, factory="avizor fit --improve", arguments=arguments)


def load_kept(network: nn.Module, tensors: Mapping[str, Tensor], earlier: Earlier) -> None:
    """Load the weights that were kept. Raises ExportError if they are not those of the network."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise earlier.damaged(error) from error
    network.eval()


def check_same_outputs(network: Callable[[Tensor], Tensor], output: str, earlier: Earlier) -> None:
    """Raise ExportError unless a network returns for the version's probe items what the version does.

    network: takes features, and returns what the version's output of this name is.
    """
    if (probe := earlier.version.probe()) is None:
        return
    with torch.no_grad():
        found = network(build_front_end(earlier.version.manifest.input)(torch.from_numpy(probe.items))).numpy()
    difference = float(np.abs(found - probe.outputs[output]).max())
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(probe.outputs[output]).max())):
        raise earlier.damaged(ValueError(f"its {output} differ by {difference:.2g} from those of the version's probe items"))
