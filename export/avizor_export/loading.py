"""Loading what a user trained: a factory named `package.module:factory`, and a weights file with its state dict."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from avizor_inference.errors import ExportError


def load_network(factory: str, arguments: Mapping[str, object], weights: Path | None) -> nn.Module:
    """Call the factory with keyword `arguments` and load the weights into what it returns. Raises ExportError."""
    network = _call(factory, arguments)
    if weights is not None:
        _load_weights(network, weights)
    return network


def _call(factory: str, arguments: Mapping[str, object]) -> nn.Module:
    module_name, colon, attribute = factory.partition(":")
    if not (module_name and colon and attribute):
        raise ExportError(f"{factory!r} is not a factory; write package.module:factory")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # an installed command does not look in the folder it is called from
    try:
        target = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ExportError(f"cannot import {factory!r}: {error}; it has to be importable from here or installed") from error
    try:
        network = target(**arguments)
    except Exception as error:  # the user's own code
        raise ExportError(f"{factory!r} failed with {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ExportError(f"{factory!r} returned a {type(network).__name__}; it has to return a torch module")
    return network


def _load_weights(network: nn.Module, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ExportError(
            f"{path} holds more than tensors, and loading it would run code from the file; save the weights with "
            "torch.save(model.state_dict(), path)"
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        raise ExportError(f"{path} is not a weights file that can be read: {error}") from error
    if not isinstance(state, Mapping):
        raise ExportError(f"{path} holds a {type(state).__name__}; save model.state_dict()")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ExportError(f"{path} does not fit the network: {error}") from error
