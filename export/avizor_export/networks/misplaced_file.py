"""A file in place of SOURCE that is no network: what it is, and what to write instead."""

from __future__ import annotations

import shlex
from pathlib import Path

from avizor_export.networks.file_kinds import Kind, as_source, kind_of
from avizor_export.networks.weights_files import read_weights
from avizor_inference.errors import ExportError

# As weights and models of other tools are mostly named.
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


def refuse_file(source: str) -> None:
    """Raise ExportError if `source` is a file or a folder, or is named like a file of weights."""
    path = Path(source)
    is_named_so = path.suffix.lower() in _ENDINGS and ":" not in source
    if path.suffix == ".py" or not (is_named_so or path.exists()):
        return
    network = "SOURCE is the network: an architecture's name, a spec, package.module:factory, a .pt2 or an .onnx file"
    if not path.exists():
        raise ExportError(f"{source} does not exist, and {network}; weights are given with --weights")
    kind = kind_of(path)
    if kind not in _WEIGHTS:
        raise ExportError(f"{source} {kind.value}; {network}" + ("" if kind == Kind.UNKNOWN else f"; {as_source(path, kind)}"))
    try:
        read_weights(path)
    except ExportError as error:
        raise ExportError(
            f"{source} {kind.value}, and {network}; nor can it be given with --weights as it is: {error}"
        ) from error
    raise ExportError(
        f"{source} is a file of weights, and {network}; write avizor export NETWORK --weights {shlex.quote(source)}, with the "
        "network that they belong to"
    )
