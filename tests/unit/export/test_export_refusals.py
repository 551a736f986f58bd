"""exporter.py: what export refuses, and that the message says what to change."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support.sounds import SOUND
from torch import Tensor, nn

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.exporter import export_model
from avizor_export.graph.to_onnx import Simplifier, optimise, to_onnx
from avizor_export.graph.wrap import wrap
from avizor_export.networks.factories import load_network
from avizor_export.parity.compare import compare_runs, onnxruntime_run, torch_run
from avizor_export.request import ExportRequest, resolve
from avizor_inference.checks.check_version import check_version
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput
from avizor_inference.repository.models import ModelRepository

VECTOR = TensorInput(name="features", item_shape=(6,))
# A floor that float32 does not hold: the logarithm of silence is minus infinity.
SILENT = SOUND.model_copy(update={"front_end": SOUND.front_end.model_copy(update={"floor": 1e-50})})


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.linear(x), torch.zeros(2, 2))


class DataDependent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] if x.sum() > 0 else x[:, 2:4]


@torch.library.custom_op("avizor_test::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = twice(x[:, :2])
        return result


class NotFinite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] / (x[:, :1] - x[:, :1])


class Handwritten(nn.Module):
    """Sigmoid and clamp, as multi-label heads end."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(torch.sigmoid(self.linear(x)), 1e-6, 1 - 1e-6)


NAN = np.array([[0, 0, 0, 0, 0, 0], [0, 0, np.nan, 0, 0, 0]], np.float32)


def export(network: nn.Module, folder: Path, **changes: object) -> None:
    settings: dict[str, object] = {"name": "m", "task": "classify", "input": VECTOR, "labels": ["a", "b"], **changes}
    export_model(network, ExportRequest(**settings), folder)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        (nn.Linear(6, 2), {"labels": ["a"]}, "1 labels for a network with 2 classes"),
        (nn.Linear(6, 2), {"labels": None}, "no labels for a network with 2 classes"),
        (nn.Linear(6, 2), {"labels": ["a", "a"]}, "labels have to differ"),
        (nn.Linear(6, 2), {"name": "a/b"}, "'a/b' is not a valid model name"),
        (nn.Linear(6, 2), {"name": "a" * 129}, "'a+' is not a valid model name; .* 128 at most"),
        (nn.Linear(5, 2), {}, r"failed on the front end's output of shape \[2, 6\]"),
        (nn.Sequential(nn.Linear(6, 2), nn.Softmax(dim=1)), {}, "ends in a softmax; let it return logits"),
        (nn.Linear(6, 5), {"task": "reconstruct", "labels": None}, "an autoencoder returns the shape"),
        (nn.Linear(6, 6), {"task": "reconstruct"}, "labels are for classifiers"),
        (nn.Unflatten(1, (2, 3)), {}, r"a classifier returns \[batch, classes\]"),
        (Frozen(), {}, "takes a batch of 2 and not one of 3; look for a reshape or an expand with a fixed batch size"),
        (NotFinite(), {}, "not finite on zeros, batch of 1; .*eps"),
        (nn.Linear(6, 2), {"real_items": np.zeros((1, 5), np.float32)}, r"real items are float32\[1, 5\]"),
        (
            nn.Linear(6, 2),
            {"held_out": LabelledItems(np.zeros((1, 5), np.float32), np.zeros(1, np.int64))},
            r"held-out items are float32\[1, 5\]",
        ),
        (nn.Linear(6, 2), {"real_items": NAN}, "real item 1 contains NaN or infinity"),
        (nn.Linear(6, 1), {"labels": ["a"]}, "one number for an item: give two labels, first the class of low numbers"),
        (nn.Linear(6, 1), {"activation": "sigmoid"}, "2 labels for a network with 1 class; give one label; for two classes"),
        (nn.Sequential(nn.Linear(6, 2), nn.Sigmoid()), {"activation": "softmax"}, "ends in a sigmoid, and a softmax"),
        (Handwritten(), {"activation": "softmax"}, "ends in a sigmoid, and a softmax"),
        (nn.Linear(6, 2), {"thresholds": 0.5}, "thresholds are for multi-label .*give --activation sigmoid"),
        (nn.Linear(6, 2), {"activation": "sigmoid", "thresholds": [0.5]}, "1 thresholds for 2 labels"),
        (nn.Linear(6, 2), {"activation": "sigmoid", "thresholds": 1.5}, "a threshold of 1.5; .* at most 1"),
        (nn.Linear(6, 2), {"held_out": LabelledItems(np.zeros((1, 6), np.float32), np.eye(2, dtype=int)[:1])}, "matrix"),
        (nn.Linear(6, 6), {"task": "reconstruct", "labels": None, "activation": "sigmoid"}, "are for classifiers"),
        (nn.Linear(6, 2), {"output": "logits"}, "returns one tensor; leave it out"),
        (
            nn.Linear(6, 2),
            {"embedding": "first", "leave_out": ["embedding"]},
            "both to be taken from 'first' and to be left out",
        ),
        (nn.Bilinear(6, 6, 2), {}, r"takes 2 inputs \(input1, input2\), and a model of Avizor takes one tensor"),
        (nn.Linear(6, 2), {"input": TensorInput(name="score", item_shape=(6,))}, "input 'score' has the name of an output"),
        (nn.Linear(16 * 17, 2), {"input": SILENT}, "the front end gives NaN or infinity on zeros; its floor"),
    ],
)
def test_refused_with_the_reason_and_nothing_published(
    tmp_path: Path, network: nn.Module, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export(network, tmp_path / "models", **changes)
    models = tmp_path / "models"
    assert not models.exists() or [path for path in models.iterdir() if not path.name.startswith(".avizor-lock")] == []


def test_parity_names_output_size_and_sample() -> None:
    network = nn.Linear(6, 2)
    served = wrap(network, VECTOR, "classify", torch.randn(2, 6))
    proto = to_onnx(served, "features", torch.randn(2, 6))
    reference = torch_run(served)
    assert compare_runs(reference, onnxruntime_run(proto), VECTOR, None, "torch").passed
    _change_a_weight(proto)
    with pytest.raises(ExportError, match=r"probabilities by up to 0\.\d+ on random"):
        compare_runs(reference, onnxruntime_run(proto), VECTOR, None, "torch")


class LooksUp(nn.Module):
    """Its look-up is called `embedding` by torch, and so is an output of the published graph."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(8, 3), nn.Linear(18, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.table((x.clamp(-3, 3) + 3).long()).flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("simplify", [optimise, None])
def test_a_value_inside_may_have_the_name_of_an_output(simplify: Simplifier | None) -> None:
    """Without the optimiser a graph is tried if it is not proven with it, and the user is to read that proof's error."""
    served = wrap(LooksUp().eval(), VECTOR, "classify", torch.randn(2, 6))
    proto = to_onnx(served, "features", torch.randn(2, 6), simplify)
    assert "embedding" in [output.name for output in proto.graph.output]
    assert compare_runs(torch_run(served), onnxruntime_run(proto), VECTOR, None, "torch").passed


def test_an_input_with_the_name_of_a_weight_is_refused() -> None:
    """Torch would take the weight for the input, and say that its batch is frozen."""
    served = wrap(nn.Linear(6, 2).eval(), VECTOR, "classify", torch.randn(2, 6))
    (name, *_) = served.state_dict()
    with pytest.raises(ExportError, match=f"input '{re.escape(name)}' has the name of a weight; give it another one"):
        to_onnx(served, name, torch.randn(2, 6))


def _change_a_weight(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if values.shape == (2, 6):
            values[0, 0] += 1.0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def test_a_full_batch_that_no_request_can_carry_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    most = 2**31 // 24  # six numbers of four bytes
    resolve(ExportRequest("m", "reconstruct", VECTOR, serving={"max_batch_size": most}), tmp_path)
    assert not caplog.messages
    resolve(ExportRequest("m", "reconstruct", VECTOR, serving={"max_batch_size": 10**9}), tmp_path)
    (said,) = caplog.messages
    assert f"max_batch_size 1000000000 is more than a request can carry (2 GiB: {most} items of features)" in said


def test_dropout_is_off_in_what_is_exported(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.9), nn.Linear(16, 2))
    network.train()
    export(network, tmp_path / "models")  # parity would fail


def test_the_network_is_as_it_was_after_the_export(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.9), nn.Linear(16, 2)).train()
    export(network, tmp_path / "models")
    assert all(module.training and not module._forward_hooks for module in network.modules())


def test_the_graph_holds_no_path_of_this_machine(tmp_path: Path) -> None:
    export(nn.Linear(6, 2), tmp_path / "models")
    assert str(Path.cwd()).encode() not in (tmp_path / "models" / "m" / "1" / "model.onnx").read_bytes()


def test_two_exports_of_the_same_weights_are_the_same_file(tmp_path: Path) -> None:
    network = nn.Linear(6, 2)
    export(network, tmp_path / "models")
    export(network, tmp_path / "models")
    first, second = ((tmp_path / "models" / "m" / str(n) / "model.onnx").read_bytes() for n in (1, 2))
    assert first == second


def test_a_new_version_keeps_its_tensors(tmp_path: Path) -> None:
    export(nn.Linear(6, 2), tmp_path / "models")
    with pytest.raises(ExportError, match="publish under another name"):
        export(nn.Linear(6, 3), tmp_path / "models", labels=["a", "b", "c"])
    assert not (tmp_path / "models" / "m" / "2").exists()


def test_to_export_again_mends_a_broken_manifest(tmp_path: Path) -> None:
    export(nn.Linear(6, 2), tmp_path / "models")
    (tmp_path / "models" / "m" / "1" / "manifest.json").write_text("{}")
    export(nn.Linear(6, 2), tmp_path / "models")
    repository = ModelRepository(tmp_path / "models")
    assert check_version(repository.version("m", 2)) == []
    assert check_version(repository.version("m", 1)) != []


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("torch.nn", "write package.module:factory"),
        ("no_such_module:Net", "cannot import"),
        ("torch.nn:NoSuchLayer", "cannot import"),
        ("torch.nn:Linear", "failed with TypeError"),
        ("builtins:dict", "returned a dict"),
    ],
)
def test_factories(factory: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        load_network(factory, {}, None)


def test_weights(tmp_path: Path) -> None:
    arguments = {"in_features": 6, "out_features": 2}
    good, other, unsafe, broken = (tmp_path / name for name in ("good.pt", "other.pt", "unsafe.pt", "broken.pt"))
    network = nn.Linear(6, 2)
    torch.save(network.state_dict(), good)
    torch.save(nn.Linear(5, 2).state_dict(), other)
    torch.save(network, unsafe)
    broken.write_bytes(b"not weights")
    loaded, _ = load_network("torch.nn:Linear", arguments, good)
    torch.testing.assert_close(loaded.state_dict()["weight"], network.weight.data)
    for path, message in (
        (other, "does not fit the network"),
        (unsafe, r"holds .*Linear besides tensors.*torch.save\(model.state_dict\(\)"),
        (broken, "broken.pt"),
        (tmp_path / "gone.pt", "gone.pt does not exist"),
    ):
        with pytest.raises(ExportError, match=message):
            load_network("torch.nn:Linear", arguments, path)
