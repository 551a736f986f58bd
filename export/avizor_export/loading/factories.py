"""A network from a factory, which is Python code of the user's own, and a state dict."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path, PurePath

from torch import nn

from avizor_export.loading.state_dicts import load_weights, read_state
from avizor_inference.errors import ExportError


def load_network(factory: str, arguments: Mapping[str, object], weights: Path | None) -> nn.Module:
    """Call the factory with keyword `arguments` and load the weights into what it returns. Raises ExportError."""
    network = _call(factory, arguments)
    if weights is not None:
        load_weights(network, read_state(weights), str(weights))
    return network


def _call(factory: str, arguments: Mapping[str, object]) -> nn.Module:
    target = _imported(factory)
    try:
        network = target(**arguments)
    except (Exception, SystemExit) as error:  # the user's own code
        raise ExportError(f"{factory!r} failed with {type(error).__name__}: {error}") from error
    # Of a compiled module the one within: the export translates it in a way of its own, and reads values of its layers.
    network = getattr(network, "_orig_mod", network)
    if not isinstance(network, nn.Module):
        raise ExportError(f"{factory!r} returned a {type(network).__name__}; it has to return a torch module")
    return network


def _imported(factory: str) -> Callable[..., object]:
    module_name, _, attribute = factory.partition(":")
    if "/" in module_name or module_name.endswith(".py"):
        dotted = ".".join(part for part in PurePath(module_name).with_suffix("").parts if part not in (".", "/"))
        raise ExportError(
            f"{factory!r} names a file, not a module; from the folder it is in, write {dotted}:{attribute or 'factory'}"
        )
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ExportError(f"{factory!r} is not a factory; write package.module:factory")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # an installed command does not look in the folder it is called from
    try:
        found: Callable[..., object] = attrgetter(attribute)(importlib.import_module(module_name))
    except (ImportError, AttributeError) as error:
        raise ExportError(f"cannot import {factory!r}: {error}; it has to be importable from here or installed") from error
    except (Exception, SystemExit) as error:  # the user's own code
        raise ExportError(f"cannot import {factory!r}: it fails with {type(error).__name__}: {error}") from error
    return found
