"""Find the layers of everything that can be described: a torch module, an architecture or spec, an .onnx or .pt2 file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from avizor_export.architectures.catalogue import build, build_autoencoder
from avizor_export.architectures.spec_grammar import reconstructs, words_of
from avizor_export.description.graph_layers import layers_of
from avizor_export.description.layer import Layer
from avizor_export.description.stored_weights import load_model
from avizor_export.graph.to_onnx import to_program
from avizor_export.networks.pt2_program import load_program
from avizor_inference.errors import ExportError


def layers_of_network(network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Layer]:
    """Return the layers of a module that takes dtype[batch, *shape]. Nothing is computed: it may be on the meta device."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    example = torch.zeros(2, *shape, device=device, dtype=dtype)
    # Not optimised, since that needs the weights, and would fold batch norms into the convolutions before them.
    program = to_program(network.eval(), example, ["input"], ["output"], optimize=False)
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
