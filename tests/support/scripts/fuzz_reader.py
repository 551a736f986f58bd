"""Give damaged files to the readers of untrusted files, in a process with limits, and print the outcome of each.

    python fuzz_reader.py FOLDER SEED COUNT

FOLDER holds sound files: each .onnx, .pt, .pt2, .npy, .npz, .csv and .parquet is damaged COUNT times by the seed, and the
.onnx ones also in their structure. A line for each: `file reader case outcome`, the outcome `ok`, `refused: message` or
`FAULT: what was raised`. The line's first half is printed before the reader begins, so that the last line of a process that
died names the case.
"""

from __future__ import annotations

import logging
import random
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import helper

from avizor_export.data.held_out import read_held_out
from avizor_export.description.table import layer_table
from avizor_export.description.targets import layers_of_file
from avizor_export.networks.onnx_adoption import adopt, outputs_of, own_input
from avizor_export.networks.pt2_program import load_program
from avizor_export.networks.state_dicts import load_weights
from avizor_export.networks.weights_files import read_weights
from avizor_export.parity.compare import compare_runs, onnxruntime_run
from avizor_export.parity.references import reference_run
from avizor_inference.error_text import shortened
from avizor_inference.errors import AvizorError
from avizor_inference.items.data.item_files import sample_items
from avizor_inference.items.input_spec import CategoryColumn, NumberColumn, TableFrontEnd, TableInput, TensorInput
from avizor_inference.repository.onnx_graph import read_graph

HUGE = 2**62
VECTOR = TensorInput(name="features", item_shape=(4,))
ROW = TableInput(front_end=TableFrontEnd(columns=(NumberColumn(name="a"), CategoryColumn(name="b", categories=("x", "y")))))
Damage = Callable[[onnx.ModelProto], None]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The bytes with bits flipped, cut short, overwritten, or with a part of themselves put in."""
    damaged = bytearray(data)
    kind, place = rng.randrange(6), rng.randrange(len(data))
    if kind < 3:
        for _ in range(rng.choice([1, 1, 2, 16])):
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 3:
        del damaged[place:]
    elif kind == 4:
        damaged[place : place + rng.randrange(1, 9)] = bytes(rng.choice([0, 127, 128, 255]) for _ in range(rng.randrange(12)))
    else:
        start = rng.randrange(len(data))
        damaged[place:place] = data[start : start + rng.randrange(1, 64)]
    return bytes(damaged)


def attribute(node: int, name: str, value: object) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        attributes = model.graph.node[node].attribute
        kept = [each for each in attributes if each.name != name]
        del attributes[:]
        attributes.extend([*kept, helper.make_attribute(name, value)])

    return damage


def weights(dims: list[int]) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = dims

    return damage


def item(kind: str, dims: list[int]) -> Damage:
    """Sizes of the input or output, after a free batch."""

    def damage(model: onnx.ModelProto) -> None:
        (value,) = getattr(model.graph, kind)
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        shape.dim.add().dim_param = "n"
        for size in dims:
            shape.dim.add().dim_value = size

    return damage


def field(path: str, value: object) -> Damage:
    """One field, by its path from the model, such as graph.input.0.name."""

    def damage(model: onnx.ModelProto) -> None:
        part: Any = model
        *folders, last = path.split(".")
        for name in folders:
            part = part[int(name)] if name.isdecimal() else getattr(part, name)
        setattr(part, last, value) if value is not None else part.ClearField(last)

    return damage


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


# Of the graph conv (0), relu, pool (2), reshape, matmul, softmax (5).
STRUCTURES: dict[str, Damage] = {
    **{f"pool {name} {value}": attribute(2, name, value) for name in ("strides", "kernel_shape", "pads")
       for value in ([0, 0], [-1, -1], [HUGE, HUGE, HUGE, HUGE], [2, 2], [1])},
    **{f"conv {name} {value}": attribute(0, name, value) for name, value in (
        ("strides", [0, 0]), ("dilations", [0, 0]), ("dilations", [HUGE, HUGE]), ("group", 0), ("group", HUGE),
        ("kernel_shape", 1.0), ("kernel_shape", "text"),
        ("auto_pad", "nonsense"), ("auto_pad", "SAME_UPPER"), ("pads", [2**20] * 4))},
    **{f"axis {value}": attribute(5, "axis", value) for value in (HUGE, -100, 1.5)},
    **{f"weights {dims}": weights(dims)
       for dims in ([HUGE, HUGE], [0], [-1, 1, 3, 3], [2**40], [], [2, 1, 3, 3, 1], [2**32, 2**32, 2, 1])},
    **{f"{kind} {dims}": item(kind, dims) for kind in ("input", "output")
       for dims in ([], [HUGE], [1, HUGE, HUGE], [1, 0, 0], [1, -8, 8], [1] * 100, [1, 2**31, 2**31])},
    **{f"opset {value}": field("opset_import.0.version", value) for value in (0, -1, 1, 7, 13, 99, HUGE)},
    **{f"ir {value}": field("ir_version", value) for value in (0, -1, 3, HUGE)},
    **{f"input type {value}": field("graph.input.0.type.tensor_type.elem_type", value) for value in (0, 7, 8, 9, 10, 16, 99)},
    **{f"weights type {value}": field("graph.initializer.0.data_type", value) for value in (0, 8, 16, 22, 99)},
    **{f"no {path}": field(path, None)
       for path in ("graph", "graph.node", "graph.output", "graph.input", "opset_import", "graph.input.0.type")},
    "name": field("graph.input.0.name", "a/b\n\x1b[31m"),
    "operator": field("graph.node.1.op_type", "Nonsense"),
    "domain": field("graph.node.1.domain", "com.example"),
    "cycle": lambda model: model.graph.node[0].input.__setitem__(0, "z"),
    "output twice": lambda model: model.graph.node.append(helper.make_node("Relu", ["x"], ["y"])),
    "two inputs": lambda model: model.graph.input.append(helper.make_tensor_value_info("x2", 1, ["n", 1])),
    "external weights": external,
}  # fmt: skip


def damaged(file: Path, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Each damage's name, and the bytes that it leaves."""
    data, rng = file.read_bytes(), random.Random(seed)
    for number in range(count):
        yield f"flipped-{number}", flipped(data, rng)
    if file.suffix == ".onnx":
        for name, damage in STRUCTURES.items():
            model = onnx.load_from_string(data)
            damage(model)
            yield name.replace(" ", "_"), model.SerializeToString()


def adopt_whole(path: Path) -> None:
    own_input(path)
    adopted = adopt(path, None, "classify")
    outputs_of(adopted)
    compare_runs(reference_run(adopted.proto), onnxruntime_run(adopted.proto), adopted.input, None, "the reference")


def adopt_frozen(path: Path) -> None:
    """The same damage where the batch is frozen, and to be freed."""
    with suppress(DecodeError):
        model = onnx.load(path, load_external_data=False)
        for value in model.graph.input:
            if dims := value.type.tensor_type.shape.dim:
                dims[0].dim_value = 2
        path.write_bytes(model.SerializeToString())
    adopt(path, None, "classify", free_frozen_batch=True)


def read_rows(path: Path) -> None:
    logging.disable()  # a word of no category is no damage, and is logged
    read_held_out(path, ROW, None)


READERS: dict[str, dict[str, Callable[[Path], object]]] = {
    ".onnx": {
        "read_graph": read_graph,
        "describe": lambda path: layer_table(layers_of_file(path)),
        "adopt": adopt_whole,
        "adopt_autoencoder": lambda path: adopt(path, None, "reconstruct"),
        "adopt_frozen": adopt_frozen,  # the last one: it changes the file
    },
    ".pt": {"weights": lambda path: load_weights(torch.nn.Sequential(torch.nn.Linear(4, 3)), read_weights(path))},
    ".pt2": {"program": load_program},
    ".npy": {"items": lambda path: sample_items(path, VECTOR, 8)},
    ".npz": {"held_out": lambda path: read_held_out(path, VECTOR, ["a", "b"])},
    ".csv": {"rows": read_rows},
    ".parquet": {"rows": read_rows},
}


def main() -> None:
    folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
    for file in sorted(path for path in folder.iterdir() if path.suffix in READERS):
        for name, data in damaged(file, seed, count):
            case = folder / f"damaged{file.suffix}.tmp{file.suffix}"
            case.write_bytes(data)
            for reader, read in READERS[file.suffix].items():
                print(file.name, reader, name, end=" ", flush=True)
                try:
                    read(case)
                    outcome = "ok"
                except AvizorError as error:
                    outcome = f"refused: {error}"
                except BaseException as error:
                    outcome = f"FAULT: {type(error).__name__}: {error}"
                print(shortened(outcome).encode("ascii", "replace").decode(), flush=True)
            case.unlink()


if __name__ == "__main__":
    main()
