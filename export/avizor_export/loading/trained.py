"""What `avizor export` is given to export: which of the five kinds it is, and the network, input and labels that follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from avizor_export.architectures.catalogue import ARCHITECTURES, build, build_autoencoder
from avizor_export.architectures.grammar import is_spec, reconstructs
from avizor_export.front_ends.of_input import front_end
from avizor_export.loading.factories import load_network
from avizor_export.loading.programs import check_items, load_program
from avizor_export.loading.state_dicts import load_weights, read_state, unwrapped
from avizor_export.loading.torchvision_weights import SCHEME, fitting, published_weights
from avizor_inference.errors import ExportError
from avizor_inference.inputs import InputSpec, TensorInput
from avizor_inference.manifest import Task


@dataclass(frozen=True)
class Trained:
    """A network with its trained weights, what it takes, and its labels where they are known."""

    network: nn.Module
    input: InputSpec
    labels: Sequence[str] | None


def load(
    source: str,
    arguments: Mapping[str, object],
    weights: str | None,
    spec: InputSpec | None,
    labels: Sequence[str] | None,
    task: Task,
) -> Trained:
    """The network that `source` names: a .pt2 file, a factory, an architecture or a spec. Raises ExportError.

    spec, labels: may be absent where torchvision's weights are taken, which bring their own.
    """
    designed = source in ARCHITECTURES or (is_spec(source) and ":" not in source)
    if designed:
        _refuse_other_task(source, task)
    if weights and weights.startswith(SCHEME):
        batch_norm, others = _batch_norm(arguments)
        if others:
            raise ExportError(f"torchvision's weights have their own classes; leave out --set {', '.join(others)}")
        published = published_weights(source, weights, batch_norm)
        spec, labels = spec or published.input, labels or published.labels
        network = build(source, len(published.labels), features_of(spec), batch_norm=batch_norm)
        load_weights(network, published.state, published.origin)
        return Trained(network, spec, labels)
    if spec is None:
        raise ExportError("say with --input what one raw item is, as in --input image:height=32,width=32,channels=1")
    path = weights_file(weights)
    if source.endswith(".pt2"):
        if path or arguments:
            raise ExportError("a .pt2 file has weights and arguments inside; leave out --weights and --set")
        program, dtype = load_program(Path(source)), spec.dtype if isinstance(spec, TensorInput) else "float32"
        check_items(program, features_of(spec), dtype, Path(source))
        return Trained(program, spec, labels)
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
    state = unwrapped(read_state(path), network)
    state = fitting(state) if design in ARCHITECTURES else state
    _refuse_other_classes(network, state, path)
    load_weights(network, state, str(path))
    return network


def _refuse_other_task(design: str, task: Task) -> None:
    gives, suits = ("its input back", "reconstruct") if reconstructs(design) else ("logits", "classify")
    if task != suits:
        raise ExportError(f"{design!r} gives {gives}; give --task {suits}")


def _refuse_other_classes(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Raise ExportError where nothing but the number of classes, as the last layer has it, would not fit."""
    own = network.state_dict()
    wrong = {name for name in own if name in state and state[name].shape != own[name].shape}
    last = list(own)[-2:]  # weight and bias
    if own.keys() == state.keys() and wrong == set(last) and state[last[0]].shape[1:] == own[last[0]].shape[1:]:
        learnt, given = len(state[last[1]]), len(own[last[1]])
        raise ExportError(f"{path} is of a network with {learnt} classes, and there are {given}; give a label for each")


def _autoencoder(spec: str, arguments: Mapping[str, object], input_spec: InputSpec) -> nn.Module:
    if arguments:
        raise ExportError(f"{spec!r} says everything itself; leave out --set {', '.join(arguments)}")
    return build_autoencoder(spec, features_of(input_spec))


def _classifier(design: str, arguments: Mapping[str, object], spec: InputSpec, labels: Sequence[str] | None) -> nn.Module:
    batch_norm, options = _batch_norm(arguments)
    classes = options.pop("classes", None) if "classes" in options else len(labels or ())
    if options:
        raise ExportError(f"{design!r} takes --set classes and --set batch_norm, not {', '.join(options)}")
    if "classes" not in arguments and not classes:
        raise ExportError("give --labels, or the number of classes with --set classes=10")
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
        raise ExportError(f"--set classes={json.dumps(classes)} is no number of classes; write --set classes=10")
    return build(design, classes, features_of(spec), batch_norm=batch_norm)


def _batch_norm(arguments: Mapping[str, object]) -> tuple[bool, dict[str, object]]:
    """Whether batch norm is asked for, and the arguments beside it."""
    others = dict(arguments)
    found = others.pop("batch_norm", False)
    if not isinstance(found, bool):
        raise ExportError(f"--set batch_norm={found!r} is neither true nor false; write --set batch_norm=true")
    return found, others
