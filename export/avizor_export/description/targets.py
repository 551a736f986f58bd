"""Find the layers of everything that can be described: a torch module, an architecture or spec, an .onnx or .pt2 file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import nn

from avizor_export.architectures.catalogue import build, build_autoencoder
from avizor_export.architectures.spec_grammar import reconstructs, words_of
from avizor_export.description.graph_layers import layers_of
from avizor_export.description.layer import Layer
from avizor_export.description.stored_weights import load_model
from avizor_export.front_ends.build import feature_shape
from avizor_export.graph.several_outputs import tensors_in
from avizor_export.graph.to_onnx import to_program
from avizor_export.networks.factories import create_network
from avizor_export.networks.misplaced_file import refuse_file
from avizor_export.networks.pt2_program import load_program
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec


def layers_of_network(network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Layer]:
    """Return the layers of a module that takes dtype[batch, *shape]. Nothing is computed: it may be on the meta device."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    example = torch.zeros(2, *shape, device=device, dtype=dtype)
    # torch.export knows tuples of tensors, but not every object that a network may return.
    hook = network.register_forward_hook(lambda _module, _items, output: tuple(tensors_in(output).values()))
    try:
        # Not optimised, since that needs the weights, and would fold batch norms into the convolutions before them.
        program = to_program(network.eval(), example, ["input"], ["output"], optimize=False)
    finally:
        hook.remove()
    return layers_of(program.model, words_of(network))


def layers_of_design(
    design: str, classes: int, shape: tuple[int, ...], batch_norm: bool = False, **settings: bool | str
) -> tuple[list[Layer], int]:
    """Return the layers of an architecture or spec and its number of parameters, without allocating its weights.

    classes: ignored for the spec of an autoencoder. shape: (channels, height, width), or (numbers,) for a table row. settings:
    passed to `build`. Raises ExportError for a design that cannot be built.
    """
    with torch.device("meta"):
        if reconstructs(design):
            network = build_autoencoder(design, shape)
        else:
            network = build(design, classes, shape, batch_norm=batch_norm, **settings)
    return layers_of_network(network, shape), sum(parameter.numel() for parameter in network.parameters())


def layers_of_factory(
    factory: str, arguments: Mapping[str, JsonValue], spec: InputSpec
) -> tuple[list[Layer], int, tuple[int, ...]]:
    """Return the layers of a factory's network, its number of parameters, and the shape of its input for an item.

    spec: the raw item, whose front end returns the network's input; it is not among the layers. Its weights may be random.
    Raises ExportError if the factory fails, or the network on such an input.
    """
    refuse_file(factory)
    network, shape = create_network(factory, arguments), feature_shape(spec)
    dtype = torch.float32 if spec.front_end_parameters else getattr(torch, spec.tensor().dtype)
    _check_runs(network, factory, torch.zeros(2, *shape, dtype=dtype))
    layers = layers_of_network(network, shape, dtype)
    return layers, sum(parameter.numel() for parameter in network.parameters()), shape


def _check_runs(network: nn.Module, factory: str, example: torch.Tensor) -> None:
    """Raise ExportError unless the network runs on the example: its own error is easier to read than the translation's."""
    try:
        with torch.inference_mode():
            network.eval()(example)
    except Exception as error:  # the user's own code
        raise ExportError(
            f"the network of {factory!r} fails on items of {list(example.shape[1:])}, which --input describes, with "
            f"{type(error).__name__}: {error}"
        ) from error


def layers_of_file(path: Path) -> list[Layer]:
    """Return the layers of an ONNX file. Raises ExportError if it cannot be read."""
    if not path.exists():
        raise ExportError(f"{path} does not exist")
    try:
        model = load_model(path)
        if not len(model.graph):
            raise ValueError("it has no nodes")
        return layers_of(model)
    except Exception as error:  # the reader's errors share no base class, and a damaged file may have strides of 0
        raise ExportError(f"{path} is not an ONNX model that can be read: {error}; export it again") from error


def layers_of_program(path: Path) -> list[Layer]:
    """Return the layers of a .pt2 file. Raises ExportError if it cannot be read, or if a size of its input is not fixed."""
    program = load_program(path)
    (tensor,) = program.input_tensors()
    sizes = tuple(tensor.shape[1:])
    if not all(isinstance(size, int) for size in sizes):
        raise ExportError(f"{path} takes items of any size {list(sizes)}; export it for one size to describe its layers")
    return layers_of_network(program, sizes, tensor.dtype)
