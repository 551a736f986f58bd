"""What `avizor export` is given to export: which of the five kinds it is, and the network, input and labels that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from avizor_export.architectures.catalogue import ARCHITECTURES, build, build_autoencoder
from avizor_export.architectures.grammar import is_spec, reconstructs
from avizor_export.front_ends.of_input import front_end
from avizor_export.loading.torch_files import load_network, load_program, load_weights, read_state
from avizor_export.loading.torchvision_weights import SCHEME, fitting, published_weights
from avizor_inference.errors import ExportError
from avizor_inference.inputs import InputSpec


@dataclass(frozen=True)
class Trained:
    """A network with its trained weights, what it takes, and its labels where they are known."""

    network: nn.Module
    input: InputSpec
    labels: Sequence[str] | None


def load(
    source: str, arguments: Mapping[str, object], weights: str | None, spec: InputSpec | None, labels: Sequence[str] | None
) -> Trained:
    """The network that `source` names: a .pt2 file, a factory, an architecture or a spec. Raises ExportError.

    spec, labels: may be absent where torchvision's weights are taken, which bring their own.
    """
    designed = source in ARCHITECTURES or (is_spec(source) and ":" not in source)
    if weights and weights.startswith(SCHEME):
        published = published_weights(source, weights)
        spec, labels = spec or published.input, labels or published.labels
        network = build(source, len(published.labels), features_of(spec))
        load_weights(network, published.state, published.origin)
        return Trained(network, spec, labels)
    if spec is None:
        raise ExportError("say with --input what one raw item is, as in --input image:height=32,width=32,channels=1")
    path = weights_file(weights)
    if source.endswith(".pt2"):
        if path or arguments:
            raise ExportError("a .pt2 file has weights and arguments inside; leave out --weights and --set")
        return Trained(load_program(Path(source)), spec, labels)
    if designed:
        return Trained(_designed(source, arguments, path, spec, labels), spec, labels)
    return Trained(load_network(source, arguments, path), spec, labels)


def weights_file(weights: str | None) -> Path | None:
    """The file among the ways to give weights."""
    if weights and weights.startswith(SCHEME):
        file = weights.partition("=")[2]
        return Path(file) if file else None
    return Path(weights) if weights else None


def features_of(spec: InputSpec) -> tuple[int, ...]:
    """Shape of what the front end gives to the network for an item: channels, height, width, or the numbers of a row."""
    tensor = spec.tensor()
    items = torch.zeros(1, *tensor.item_shape, dtype=getattr(torch, tensor.dtype))
    with torch.inference_mode():
        return tuple(front_end(spec)(items).shape[1:])


def _designed(
    design: str, arguments: Mapping[str, object], path: Path | None, spec: InputSpec, labels: Sequence[str] | None
) -> nn.Module:
    network = _autoencoder(design, arguments, spec) if reconstructs(design) else _classifier(design, arguments, spec, labels)
    if path is None:
        raise ExportError(f"give the trained weights of {design!r} with --weights: without them it has learnt nothing")
    state = read_state(path)
    load_weights(network, fitting(state) if design in ARCHITECTURES else state, str(path))
    return network


def _autoencoder(spec: str, arguments: Mapping[str, object], input_spec: InputSpec) -> nn.Module:
    if arguments:
        raise ExportError(f"{spec!r} says everything itself; leave out --set {', '.join(arguments)}")
    return build_autoencoder(spec, features_of(input_spec))


def _classifier(design: str, arguments: Mapping[str, object], spec: InputSpec, labels: Sequence[str] | None) -> nn.Module:
    options = dict(arguments)
    batch_norm, classes = bool(options.pop("batch_norm", False)), options.pop("classes", len(labels or ()))
    if options:
        raise ExportError(f"{design!r} takes --set classes and --set batch_norm, not {', '.join(options)}")
    if not isinstance(classes, int) or classes < 1:
        raise ExportError("give --labels, or the number of classes with --set classes=10")
    return build(design, classes, features_of(spec), batch_norm=batch_norm)
