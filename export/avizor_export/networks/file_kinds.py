"""Detect what a file is by its content, for the message about a file in the wrong place."""

from __future__ import annotations

import shlex
import zipfile
from enum import Enum
from pathlib import Path

# A safetensors file begins with the header's length in eight bytes, then the header as JSON.
_LONGEST_HEADER = 100_000_000


class Kind(Enum):
    """Kinds of files; the value continues a sentence that begins with the file's name."""

    FOLDER = "is a folder"
    ONNX = "is an ONNX file"
    PROGRAM = "is an exported program of torch.export.save"
    TORCHSCRIPT = "is a TorchScript file"
    TORCH = "is a file of torch.save"
    SAFETENSORS = "is a safetensors file"
    SAFETENSORS_INDEX = "is the index of a safetensors checkpoint"
    HDF5 = "is an HDF5 file, as Keras writes"
    KERAS = "is a Keras file"
    TFLITE = "is a TensorFlow Lite file"
    LFS = "is a Git LFS pointer to a file that is elsewhere"
    UNKNOWN = "is not a known kind of file"


def kind_of(path: Path) -> Kind:
    """Return what the file is; UNKNOWN if it cannot be read or is none of the others."""
    if path.is_dir():
        return Kind.FOLDER
    if path.name.endswith(".safetensors.index.json"):
        return Kind.SAFETENSORS_INDEX
    try:
        with path.open("rb") as file:
            head = file.read(64)
        if head.startswith(b"PK"):
            return _kind_of_archive(path)
    except (OSError, zipfile.BadZipFile):
        return Kind.UNKNOWN
    if head.startswith(b"version https://git-lfs"):
        return Kind.LFS
    if head.startswith(b"\x89HDF\r\n"):
        return Kind.HDF5
    if head[4:8] == b"TFL3":
        return Kind.TFLITE
    if path.suffix == ".safetensors" or (head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LONGEST_HEADER):
        return Kind.SAFETENSORS
    if path.suffix == ".onnx":
        return Kind.ONNX
    return Kind.TORCH if head.startswith(b"\x80") else Kind.UNKNOWN


def _kind_of_archive(path: Path) -> Kind:
    with zipfile.ZipFile(path) as file:
        names = [name.partition("/")[2] or name for name in file.namelist()]
    if "models/model.json" in names or "serialized_exported_program.json" in names:
        return Kind.PROGRAM
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return Kind.TORCHSCRIPT
    if "data.pkl" in names:
        return Kind.TORCH
    return Kind.KERAS if any(name.endswith(".weights.h5") for name in names) else Kind.UNKNOWN


def how_to_export(path: Path, kind: Kind) -> str:
    """Return what to do with a file that does not hold weights, to have it exported."""
    if kind == Kind.FOLDER:
        return "name a file in it"
    if kind == Kind.LFS:
        return "fetch the file itself with: git lfs pull"
    if kind in (Kind.ONNX, Kind.PROGRAM):
        ending = ".onnx" if kind == Kind.ONNX else ".pt2"
        renamed = path if path.suffix == ending else path.with_suffix(ending)
        rename = "" if renamed == path else f"rename it to {renamed} and "
        return f"it holds the network and its weights: {rename}give it as NETWORK, without --weights"
    if kind == Kind.TORCHSCRIPT:
        weights = path.with_name(f"{path.stem}-weights.pt")
        code = "import sys, torch; torch.save(torch.jit.load(sys.argv[1], 'cpu').state_dict(), sys.argv[2])"
        command = shlex.join(["python", "-c", code, str(path), str(weights)])
        return (
            f"take the weights from it with: {command} ; then write avizor export NETWORK --weights {shlex.quote(str(weights))}"
        )
    if kind in (Kind.HDF5, Kind.KERAS, Kind.TFLITE):
        return "convert the model to ONNX, as tf2onnx does, and give the .onnx file as NETWORK"
    return "give a state dict of torch.save or a .safetensors file"
