"""What `avizor export` is given to export: which of the kinds it is, and the network, input and labels that follow."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import nn

from avizor_export.architectures.catalogue import ARCHITECTURES, IMAGENET, build, build_autoencoder, check_choice, variants_of
from avizor_export.architectures.spec_grammar import is_spec, reconstructs
from avizor_export.front_ends.build import build_front_end
from avizor_export.networks.architecture_variants import settings_for
from avizor_export.networks.factories import load_network
from avizor_export.networks.misplaced_file import refuse_file
from avizor_export.networks.pt2_program import check_items, load_program
from avizor_export.networks.state_dicts import load_weights, nearest
from avizor_export.networks.torchvision_weights import SCHEME, check_has_weights, published_weights, without_auxiliary_heads
from avizor_export.networks.weights_files import WeightsFile, read_weights
from avizor_inference.errors import ExportError
from avizor_inference.items.inputs import ImageInput, InputSpec
from avizor_inference.repository.manifest import Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GivenWeights:
    """How the command line gives the weights.

    text: a file, or torchvision:NAME, with =FILE if it is there. key: under which of several sets in the file they are.
    in_factory: the factory loads them itself.
    """

    text: str | None = None
    key: str | None = None
    in_factory: bool = False

    @property
    def file(self) -> Path | None:
        """The file, if there is one."""
        name = self.text.partition("=")[2] if self.text and self.of_torchvision else self.text
        return Path(name) if name else None

    @property
    def of_torchvision(self) -> bool:
        """Whether they are those that torchvision publishes."""
        return bool(self.text and self.text.startswith(SCHEME))


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its trained weights, what it takes, and its labels where they are known.

    arguments: of the factory, or the settings of the architecture. weights_key: what of the file the weights are.
    """

    network: nn.Module
    input: InputSpec
    labels: Sequence[str] | None
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)
    weights_key: str | None = None


def open_network(
    name: str,
    arguments: Mapping[str, JsonValue],
    weights: GivenWeights,
    spec: InputSpec | None,
    labels: Sequence[str] | None,
    task: Task,
) -> LoadedNetwork:
    """The network that `name` names: a .pt2 file, a factory, an architecture or a spec. Raises ExportError.

    spec, labels: may be absent where torchvision's weights are taken, which bring their own.
    """
    designed = name in ARCHITECTURES or (is_spec(name) and ":" not in name)
    is_program = name.endswith(".pt2")
    if designed:
        _refuse_other_task(name, task)
    elif not is_program:
        refuse_file(name)
    _refuse_idle(weights, is_factory=not designed and not is_program)
    if weights.of_torchvision:
        return _of_torchvision(name, arguments, weights.text or "", spec, labels)
    if designed:
        _check_settings(name, arguments, labels)
    if missing := _missing(name, weights, spec, labels, designed):
        raise ExportError("; ".join(missing))
    assert spec is not None
    if is_program:
        if weights.file or arguments:
            raise ExportError("a .pt2 file has weights and arguments inside; leave out --weights and --set")
        program, dtype = load_program(Path(name)), "float32" if spec.front_end_parameters else spec.tensor().dtype
        check_items(program, feature_shape(spec), dtype, Path(name))
        return LoadedNetwork(program, spec, labels)
    if designed:
        return _designed(name, arguments, weights, spec, labels)
    network, key = load_network(name, arguments, weights.file, weights.key, weights.in_factory)
    return LoadedNetwork(network, spec, labels, arguments, key)


def _missing(
    name: str,
    weights: GivenWeights,
    spec: InputSpec | None,
    labels: Sequence[str] | None,
    designed: bool,
) -> list[str]:
    """All that has to be given as well, in one message."""
    missing = []
    if spec is None:
        missing.append("say with --input what one raw item is, as in --input image:height=32,width=32,channels=1")
    if designed and not reconstructs(name) and not labels:
        missing.append("give --labels, a text file of one label a line in the order of the outputs")
    if designed and weights.file is None:
        missing.append(f"give the trained weights of {name!r} with --weights: without them it has learnt nothing")
    return missing


def _refuse_idle(weights: GivenWeights, is_factory: bool) -> None:
    """Raise ExportError for an option that would do nothing."""
    if weights.key is not None and (weights.file is None or weights.of_torchvision):
        raise ExportError("--weights-key chooses among what a file of --weights FILE holds; give one, or leave it out")
    if weights.in_factory and (not is_factory or weights.text):
        raise ExportError("--weights-in-factory is for package.module:factory without --weights; leave it out")


def _of_torchvision(
    design: str,
    arguments: Mapping[str, JsonValue],
    text: str,
    spec: InputSpec | None,
    labels: Sequence[str] | None,
) -> LoadedNetwork:
    """With the weights that torchvision publishes: in the layout that they were trained in, whatever the size of the input."""
    batch_norm, settings, others = _settings(design, arguments)
    check_has_weights(design, batch_norm)
    if others:
        raise ExportError(f"torchvision's weights have their own classes; leave out --set {', '.join(others)}")
    published = published_weights(design, text, batch_norm)
    if settings.setdefault("layout", "torchvision") != "torchvision":
        raise ExportError("torchvision's weights were trained in torchvision's layout; leave out --set layout")
    spec, labels = spec or published.input, labels or published.labels
    if "transform_input" in ARCHITECTURES[design].choices:
        settings.setdefault("transform_input", _transforms(spec, published.input))
    elif isinstance(spec, ImageInput) and _scaling(spec) != _scaling(published.input):
        _log.warning(
            "torchvision trained these weights on images of mean %s and std %s; --input has others", *_shown(published.input)
        )
    network = build(design, len(published.labels), feature_shape(spec), batch_norm=batch_norm, **settings)
    load_weights(network, published.weights)
    return LoadedNetwork(network, spec, labels, _recorded(batch_norm, settings))


def _transforms(spec: InputSpec, own: ImageInput) -> bool:
    """Whether the network has to normalise anew what --input gives it. Raises ExportError where that does not tell."""
    if isinstance(spec, ImageInput) and _scaling(spec) == _scaling(own):
        return False
    if isinstance(spec, ImageInput) and _scaling(spec) == IMAGENET:
        return True
    raise ExportError(
        "torchvision's module for these weights takes images normalised by the mean and std of ImageNet, and normalises them "
        "anew by 0.5 and 0.5; --input has neither of the two. Write it with mean=0.5,std=0.5; or say with --set "
        "transform_input=true (by those of ImageNet) or --set transform_input=false (by 0.5) how its items are normalised"
    )


def _scaling(spec: ImageInput) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each channel."""
    mean, std = spec.front_end.mean, spec.front_end.std
    return (mean * spec.channels if len(mean) == 1 else mean), (std * spec.channels if len(std) == 1 else std)


def _shown(spec: ImageInput) -> tuple[str, str]:
    mean, std = ("/".join(f"{value:g}" for value in values) for values in _scaling(spec))
    return mean, std


def feature_shape(spec: InputSpec) -> tuple[int, ...]:
    """Shape of what the front end gives to the network for an item: channels, height, width, or the numbers of a row."""
    tensor = spec.tensor()
    items = torch.zeros(1, *tensor.item_shape, dtype=getattr(torch, tensor.dtype))
    with torch.inference_mode():
        return tuple(build_front_end(spec)(items).shape[1:])


def _designed(
    design: str,
    arguments: Mapping[str, JsonValue],
    given: GivenWeights,
    spec: InputSpec,
    labels: Sequence[str] | None,
) -> LoadedNetwork:
    batch_norm, settings, _ = _settings(design, arguments)
    classes = len(labels or ())
    assert given.file is not None  # _missing saw it
    shape = feature_shape(spec)
    if reconstructs(design):
        network, weights = build_autoencoder(design, shape), read_weights(given.file)
    elif design not in ARCHITECTURES:
        network, weights = build(design, classes, shape, batch_norm=batch_norm), read_weights(given.file)
    else:
        variants, file = variants_of(design, classes, shape, batch_norm), read_weights(given.file)
        weights = without_auxiliary_heads(file, design)
        if len(weights.tensors) < len(file.tensors):
            _log.warning("%s: its auxiliary heads, aux1 and aux2, are left out; only training needs them", given.file)
        settings = dict(settings_for(design, variants, settings, weights, given.key))
        network = build(design, classes, shape, batch_norm=batch_norm, **settings)
    _refuse_other_classes(network, weights, given.key)
    key = load_weights(network, weights, given.key)
    return LoadedNetwork(network, spec, labels, _recorded(batch_norm, settings), key)


def _recorded(batch_norm: bool, settings: Mapping[str, bool | str]) -> dict[str, JsonValue]:
    return {**({"batch_norm": True} if batch_norm else {}), **settings}


def _refuse_other_task(design: str, task: Task) -> None:
    gives, suits = ("its input back", "reconstruct") if reconstructs(design) else ("logits", "classify")
    if task != suits:
        raise ExportError(f"{design!r} gives {gives}; give --task {suits}")


def _refuse_other_classes(network: nn.Module, weights: WeightsFile, key: str | None) -> None:
    """Raise ExportError where nothing but the number of classes, as the last layer has it, would not fit."""
    own = network.state_dict()
    state = nearest(own, weights.tensors, key).state
    wrong = {name for name in own if name in state and state[name].shape != own[name].shape}
    last = list(own)[-2:]  # weight and bias
    if own.keys() == state.keys() and wrong == set(last) and state[last[0]].shape[1:] == own[last[0]].shape[1:]:
        learnt, given = len(state[last[1]]), len(own[last[1]])
        raise ExportError(f"{weights.path} is of a network with {learnt} classes, and there are {given}; give a label for each")


def _check_settings(design: str, arguments: Mapping[str, JsonValue], labels: Sequence[str] | None) -> None:
    """Raise ExportError for a setting that the design does not have, or that makes no sense."""
    if reconstructs(design):
        if arguments:
            raise ExportError(f"{design!r} says everything itself; leave out --set {', '.join(arguments)}")
        return
    _, _, others = _settings(design, arguments)
    if unknown := [name for name in others if name != "classes"]:
        architecture = ARCHITECTURES.get(design)
        known = ["classes"]
        if architecture is not None:
            known += [*(["batch_norm"] if architecture.batch_norm else []), *architecture.choices]
        raise ExportError(f"{design!r} takes no --set {', '.join(unknown)}; it takes {', '.join(known)}")
    if "classes" not in others:
        return
    classes = others["classes"]
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
        raise ExportError(
            f"--set classes={json.dumps(classes)} is not a number of classes; leave it out, as the labels tell it"
        )
    if labels and classes != len(labels):
        raise ExportError(f"--set classes={classes}, and there are {len(labels)} labels; leave it out, as the labels tell it")


def _settings(design: str, arguments: Mapping[str, JsonValue]) -> tuple[bool, dict[str, bool | str], dict[str, JsonValue]]:
    """Whether batch norm is asked for, the choices of the architecture, and the arguments beside them."""
    others = dict(arguments)
    batch_norm = others.pop("batch_norm", False)
    if not isinstance(batch_norm, bool):
        raise ExportError(f"--set batch_norm={batch_norm!r} is neither true nor false; write --set batch_norm=true")
    choices = ARCHITECTURES[design].choices if design in ARCHITECTURES else {}
    settings: dict[str, bool | str] = {}
    for name in [name for name in others if name in choices]:
        value = others.pop(name)
        try:
            check_choice(choices, name, value)
        except ValueError as error:
            raise ExportError(f"--set {error}") from error
        assert isinstance(value, bool | str)
        settings[name] = value
    return batch_norm, settings, others
