"""Open the NETWORK argument of `avizor export`: find its kind, and load the network with its input and labels."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue
from torch import nn

from avizor_export.architectures.catalogue import ARCHITECTURES, IMAGENET, build, build_autoencoder, check_choice, variants_of
from avizor_export.architectures.spec_grammar import is_spec, reconstructs
from avizor_export.front_ends.build import feature_shape
from avizor_export.networks.architecture_variants import settings_for
from avizor_export.networks.factories import load_network
from avizor_export.networks.misplaced_file import refuse_file
from avizor_export.networks.own_inputs import own_input, scaling, timm_input, warn_of_differences
from avizor_export.networks.pt2_program import check_items, load_program
from avizor_export.networks.state_dicts import load_weights, nearest
from avizor_export.networks.torchvision_weights import (
    MODULES,
    SCHEME,
    check_has_weights,
    published_module,
    published_weights,
    without_auxiliary_heads,
)
from avizor_export.networks.weights_files import WeightsFile, read_weights
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageInput, InputSpec
from avizor_inference.repository.manifest import Task

_log = logging.getLogger(__name__)

_TRANSFORMS = "the transforms of torchvision's weights"
_NO_INPUT = "say with --input what one raw item is, as in --input image:height=32,width=32,channels=1"


@dataclass(frozen=True)
class GivenWeights:
    """The weights as the command line names them.

    text: a file, or torchvision:NAME, or torchvision:NAME=FILE for a downloaded file. key: which of several sets in the file.
    in_factory: the factory loads them itself.
    """

    text: str | None = None
    key: str | None = None
    in_factory: bool = False

    @property
    def file(self) -> Path | None:
        """Return the file, if one is named."""
        name = self.text.partition("=")[2] if self.text and self.of_torchvision else self.text
        return Path(name) if name else None

    @property
    def of_torchvision(self) -> bool:
        """Return whether torchvision publishes these weights."""
        return bool(self.text and self.text.startswith(SCHEME))


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its trained weights, the description of its input, and its labels if they are known.

    arguments: of the factory, or the settings of the architecture. weights_key: under which key the file has the weights.
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
    """Load the network that `name` names: a .pt2 file, a factory, an architecture or a spec.

    spec, labels: may be absent with torchvision's weights, which have their own, and spec for a module of timm.
    Raises ExportError if options do not fit together, something is missing, or the network cannot be loaded.
    """
    is_design = name in ARCHITECTURES or (is_spec(name) and ":" not in name)
    is_program = name.endswith(".pt2")
    if is_design:
        _refuse_other_task(name, task)
    elif not is_program:
        refuse_file(name)
    is_factory = not is_design and not is_program
    _refuse_options_without_effect(weights, is_factory)
    if weights.of_torchvision and name.startswith(MODULES):
        return _open_torchvision_module(name, arguments, weights.text or "", spec, labels)
    if weights.of_torchvision:
        return _open_with_torchvision_weights(name, arguments, weights.text or "", spec, labels)
    if is_factory:
        return _open_factory(name, arguments, weights, spec, labels)
    if is_design:
        _check_settings(name, arguments, labels)
    if missing := _missing(name, weights, spec, labels, is_design):
        raise ExportError("; ".join(missing))
    assert spec is not None
    if is_program:
        if weights.file or arguments:
            raise ExportError("a .pt2 file has weights and arguments inside; leave out --weights and --set")
        program, dtype = load_program(Path(name)), "float32" if spec.front_end_parameters else spec.tensor().dtype
        check_items(program, feature_shape(spec), dtype, Path(name))
        return LoadedNetwork(program, spec, labels)
    return _open_design(name, arguments, weights, spec, labels)


def _open_factory(
    factory: str,
    arguments: Mapping[str, JsonValue],
    weights: GivenWeights,
    spec: InputSpec | None,
    labels: Sequence[str] | None,
) -> LoadedNetwork:
    """Build a network with a factory. spec: may be absent for a module of timm, which has its own."""
    network, key = load_network(factory, arguments, weights.file, weights.key, weights.in_factory)
    if spec is None:
        spec = own_input(network)
    elif own := timm_input(network):
        warn_of_differences(spec, own, "the network's pretrained_cfg")
    if spec is None:
        raise ExportError(_NO_INPUT)
    return LoadedNetwork(network, spec, labels, arguments, key)


def _missing(
    name: str,
    weights: GivenWeights,
    spec: InputSpec | None,
    labels: Sequence[str] | None,
    is_design: bool,
) -> list[str]:
    """Return what to do for every option that is missing, so that one message names them all."""
    missing = []
    if spec is None:
        missing.append(_NO_INPUT)
    if is_design and not reconstructs(name) and not labels:
        missing.append("give --labels, a text file of one label a line in the order of the outputs")
    if is_design and weights.file is None:
        missing.append(f"give the trained weights of {name!r} with --weights: without them it has learnt nothing")
    return missing


def _refuse_options_without_effect(weights: GivenWeights, is_factory: bool) -> None:
    """Raise ExportError for an option that would do nothing."""
    if weights.key is not None and (weights.file is None or weights.of_torchvision):
        raise ExportError("--weights-key chooses among the sets of weights in a --weights FILE; give a file, or leave it out")
    if weights.in_factory and (not is_factory or weights.text):
        raise ExportError("--weights-in-factory is for package.module:factory without --weights; leave it out")


def _open_with_torchvision_weights(
    design: str,
    arguments: Mapping[str, JsonValue],
    text: str,
    spec: InputSpec | None,
    labels: Sequence[str] | None,
) -> LoadedNetwork:
    """Build the design with torchvision's weights, in the layout that they were trained in, whatever the input's size."""
    batch_norm, settings, others = _settings(design, arguments)
    check_has_weights(design, batch_norm)
    if others:
        raise ExportError(f"torchvision's weights have their own classes; leave out --set {', '.join(others)}")
    published = published_weights(design, text, batch_norm)
    if settings.setdefault("layout", "torchvision") != "torchvision":
        raise ExportError("torchvision's weights were trained in torchvision's layout; leave out --set layout")
    spec, labels = spec or published.input, labels or published.labels
    _refuse_channels_last(design, spec)
    if "transform_input" in ARCHITECTURES[design].choices:
        settings.setdefault("transform_input", _needs_transform(spec, published.input))
        warn_of_differences(spec, published.input, _TRANSFORMS, ("mean", "std"))
    else:
        warn_of_differences(spec, published.input, _TRANSFORMS)
    network = build(design, len(published.labels), feature_shape(spec), batch_norm=batch_norm, **settings)
    load_weights(network, published.weights)
    return LoadedNetwork(network, spec, labels, _settings_for_record(batch_norm, settings))


def _open_torchvision_module(
    factory: str,
    arguments: Mapping[str, JsonValue],
    text: str,
    spec: InputSpec | None,
    labels: Sequence[str] | None,
) -> LoadedNetwork:
    """Build one of torchvision's own classifiers with its weights."""
    if arguments:
        raise ExportError(f"torchvision builds {factory} as its weights need it; leave out --set {', '.join(arguments)}")
    network, published = published_module(factory, text)
    load_weights(network, published.weights)
    if spec:
        warn_of_differences(spec, published.input, _TRANSFORMS)
    return LoadedNetwork(network, spec or published.input, labels or published.labels)


def _refuse_channels_last(design: str, spec: InputSpec) -> None:
    if isinstance(spec, ImageInput) and spec.front_end.layout == "nhwc":
        raise ExportError(f"{design!r} takes images with channels first; leave layout=nhwc out of --input")


def _needs_transform(spec: InputSpec, published: ImageInput) -> bool:
    """Return whether the network has to normalise the items of --input again. Raises ExportError if that is not clear."""
    if isinstance(spec, ImageInput) and scaling(spec) == scaling(published):
        return False
    if isinstance(spec, ImageInput) and scaling(spec) == IMAGENET:
        return True
    raise ExportError(
        "torchvision's module for these weights takes images normalised by the mean and std of ImageNet, and normalises them "
        "again by 0.5 and 0.5; --input has neither of the two. Write it with mean=0.5,std=0.5; or say with --set "
        "transform_input=true (by those of ImageNet) or --set transform_input=false (by 0.5) how its items are normalised"
    )


def _open_design(
    design: str,
    arguments: Mapping[str, JsonValue],
    weights_option: GivenWeights,
    spec: InputSpec,
    labels: Sequence[str] | None,
) -> LoadedNetwork:
    """Build an architecture or a spec, and load the weights of a file into it."""
    batch_norm, settings, _ = _settings(design, arguments)
    _refuse_channels_last(design, spec)
    classes = len(labels or ())
    assert weights_option.file is not None  # _missing checked it
    path, key, shape = weights_option.file, weights_option.key, feature_shape(spec)
    if reconstructs(design):
        network, weights = build_autoencoder(design, shape), read_weights(path)
    elif design not in ARCHITECTURES:
        network, weights = build(design, classes, shape, batch_norm=batch_norm), read_weights(path)
    else:
        variants, file = variants_of(design, classes, shape, batch_norm), read_weights(path)
        weights = without_auxiliary_heads(file, design)
        if len(weights.tensors) < len(file.tensors):
            _log.warning("%s: its auxiliary heads, aux1 and aux2, are left out; only training needs them", path)
        settings = dict(settings_for(design, variants, settings, weights, key))
        network = build(design, classes, shape, batch_norm=batch_norm, **settings)
    _refuse_other_classes(network, weights, key)
    key = load_weights(network, weights, key)
    return LoadedNetwork(network, spec, labels, _settings_for_record(batch_norm, settings), key)


def _settings_for_record(batch_norm: bool, settings: Mapping[str, bool | str]) -> dict[str, JsonValue]:
    """Return the settings as the manifest records them: batch_norm only if it is true."""
    return {**({"batch_norm": True} if batch_norm else {}), **settings}


def _refuse_other_task(design: str, task: Task) -> None:
    output, right_task = ("a reconstruction of its input", "reconstruct") if reconstructs(design) else ("logits", "classify")
    if task != right_task:
        raise ExportError(f"{design!r} returns {output}; give --task {right_task}")


def _refuse_other_classes(network: nn.Module, weights: WeightsFile, key: str | None) -> None:
    """Raise ExportError if only the number of classes, which the last layer shows, does not fit."""
    expected = network.state_dict()
    state = nearest(expected, weights.tensors, key).state
    wrong = {name for name in expected if name in state and state[name].shape != expected[name].shape}
    last = list(expected)[-2:]  # weight and bias
    if expected.keys() == state.keys() and wrong == set(last) and state[last[0]].shape[1:] == expected[last[0]].shape[1:]:
        file_classes, labels = len(state[last[1]]), len(expected[last[1]])
        raise ExportError(
            f"{weights.path} is of a network with {file_classes} classes, and there are {labels} labels; give a label for each"
        )


def _check_settings(design: str, arguments: Mapping[str, JsonValue], labels: Sequence[str] | None) -> None:
    """Raise ExportError for a setting that the design does not have, or whose value is not valid."""
    if reconstructs(design):
        if arguments:
            raise ExportError(f"{design!r} has no settings besides its spec; leave out --set {', '.join(arguments)}")
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
            f"--set classes={json.dumps(classes)} is not a number of classes; leave it out: the labels are counted instead"
        )
    if labels and classes != len(labels):
        raise ExportError(
            f"--set classes={classes}, and there are {len(labels)} labels; leave it out: the labels are counted instead"
        )


def _settings(design: str, arguments: Mapping[str, JsonValue]) -> tuple[bool, dict[str, bool | str], dict[str, JsonValue]]:
    """Split the arguments: return batch_norm, the choices of the architecture, and all other arguments."""
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
