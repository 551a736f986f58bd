"""Refuse a file given as NETWORK that does not hold a network: say what it is and what to write instead."""

from __future__ import annotations

import shlex
from pathlib import Path

from avizor_export.networks.file_kinds import Kind, how_to_export, kind_of
from avizor_export.networks.weights_files import read_weights
from avizor_inference.errors import ExportError

# Usual endings of weights and of other tools' models.
_ENDINGS = (
    ".pt",
    ".pth",
    ".ckpt",
    ".safetensors",
    ".bin",
    ".h5",
    ".hdf5",
    ".keras",
    ".tflite",
    ".tar",
    ".pkl",
    ".npz",
    ".json",
)
_WEIGHTS = (Kind.TORCH, Kind.SAFETENSORS, Kind.SAFETENSORS_INDEX)


def refuse_file(network: str) -> None:
    """Raise ExportError if `network` is a file or a folder, or is named like a file of weights."""
    path = Path(network)
    has_model_ending = path.suffix.lower() in _ENDINGS and ":" not in network
    if path.suffix == ".py" or not (has_model_ending or path.exists()):
        return
    rule = "NETWORK is an architecture's name, a spec, package.module:factory, a .pt2 or an .onnx file"
    if not path.exists():
        raise ExportError(f"{network} does not exist, and {rule}; weights are given with --weights")
    kind = kind_of(path)
    if kind not in _WEIGHTS:
        raise ExportError(
            f"{network} {kind.value}; {rule}" + ("" if kind == Kind.UNKNOWN else f"; {how_to_export(path, kind)}")
        )
    try:
        read_weights(path)
    except ExportError as error:
        raise ExportError(
            f"{network} {kind.value}, and {rule}; it cannot be given with --weights as it is either: {error}"
        ) from error
    raise ExportError(
        f"{network} is a file of weights, and {rule}; write avizor export NETWORK --weights {shlex.quote(network)}, with the "
        "network that they belong to"
    )
