"""Choose the network of a classifier: a small CNN by the shape of its features, or one of the architectures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue
from torch import nn

from avizor_export.architectures.catalogue import ARCHITECTURES, build
from avizor_export.networks.state_dicts import load_weights
from avizor_export.networks.torchvision_weights import check_has_weights, without_auxiliary_heads
from avizor_export.networks.weights_files import read_weights
from avizor_inference.errors import ExportError

CHANNELS = (16, 32, 64, 96, 128)
SMALLEST_MAP = 3  # an image is halved until its shorter side has about so many pixels
SOUND_SPEC = "conv16bn pool conv32bn pool conv48bn pool conv64bn pool gap drop0.3 fc"
SHORTEST_SIGNAL = 8  # a signal is halved while its map has more steps, four times at most
HALVINGS = 4
ROW_WIDTH = (32, 256)
# Of ImageNet's thousand classes, for which torchvision's weights were trained.
_PUBLISHED_CLASSES = 1000


@dataclass(frozen=True)
class Design:
    """Says which network a classifier is: an architecture's name or a spec, and the settings that `build` takes with it."""

    name: str
    settings: Mapping[str, bool | str]

    @property
    def is_architecture(self) -> bool:
        """Return whether it is one of the architectures."""
        return self.name in ARCHITECTURES

    def build(self, classes: int, shape: tuple[int, ...]) -> nn.Module:
        """Build it with fresh weights: see `architectures.catalogue.build`."""
        settings = dict(self.settings)
        batch_norm = bool(settings.pop("batch_norm", False))
        return build(self.name, classes, shape, batch_norm=batch_norm, **settings)

    def record(self) -> dict[str, JsonValue]:
        """Return it as what is kept beside a version."""
        return {"name": self.name, "settings": dict(self.settings)}

    @classmethod
    def of_record(cls, record: JsonValue) -> Design:
        """Return what `record` gave. Raises TypeError, KeyError or ValueError for anything else."""
        if not isinstance(record, dict) or not isinstance(settings := record["settings"], dict):
            raise TypeError("the design is no object of a name and settings")
        given = {name: value if isinstance(value, str) else bool(value) for name, value in settings.items()}
        return cls(str(record["name"]), given)


def suggested_spec(shape: tuple[int, ...], *, is_sound: bool = False) -> str:
    """Return the spec of a small classifier for features of this shape: rows, signals, or maps (images, log-mels)."""
    if len(shape) == 1:
        width = min(max(8 * shape[0], ROW_WIDTH[0]), ROW_WIDTH[1])
        return f"fc{width} drop0.2 fc{width // 2} fc"
    if len(shape) == 2:
        return _signal_spec(shape[1])
    if is_sound:
        return _sound_spec(min(shape[1:]))
    halvings = max(1, round(math.log2(max(2, min(shape[1:]) / SMALLEST_MAP))))
    return _halved([f"conv{CHANNELS[min(place, len(CHANNELS) - 1)]}bn" for place in range(halvings)], "drop0.3 fc")


def _sound_spec(side: int) -> str:
    words = [word for word in SOUND_SPEC.split() if word.startswith("conv")]
    return _halved(words[: max(1, min(len(words), int(math.log2(max(2, side)))))], "gap drop0.3 fc")


def _signal_spec(steps: int) -> str:
    halvings = max(1, min(HALVINGS, int(math.log2(max(2, steps / SHORTEST_SIGNAL)))))
    kernels = (9, 7, 5, 3)
    return _halved([f"conv{CHANNELS[place]}k{kernels[place]}bn" for place in range(halvings)], "gap drop0.3 fc")


def _halved(words: list[str], end: str) -> str:
    return " ".join([*(f"{word} pool" for word in words), end])


def with_published_weights(design: Design, classes: int, shape: tuple[int, ...], file: Path) -> nn.Module:
    """Build an architecture whose weights, but for its last layer, are those of a file that torchvision publishes.

    Raises ExportError if there are none for it, the file is another one's, or it was not trained on such features.
    """
    check_has_weights(design.name, bool(design.settings.get("batch_norm", False)))
    channels = ARCHITECTURES[design.name].shape[0]
    if shape[0] != channels:
        raise ExportError(f"torchvision's weights take {channels} channels, and the items have {shape[0]}; leave out --weights")
    published, network = design.build(_PUBLISHED_CLASSES, shape), design.build(classes, shape)
    load_weights(published, without_auxiliary_heads(read_weights(file), design.name))
    own = network.state_dict()
    loaded = {name: value for name, value in published.state_dict().items() if own[name].shape == value.shape}
    network.load_state_dict({**own, **loaded})
    return network
