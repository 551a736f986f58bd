"""parity/tolerances.py.

Outputs are judged by the scale of their item: rounding of large maps passes, a graph that is a little wrong does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from avizor_export.exporter import export_model
from avizor_export.graph.logits import SIGMOID
from avizor_export.graph.to_onnx import to_onnx
from avizor_export.graph.wrap import wrap
from avizor_export.parity.compare import compare_runs, onnxruntime_run, torch_run
from avizor_export.parity.probe_items import random_items
from avizor_export.request import ExportRequest
from avizor_inference.errors import ExportError, ParityError
from avizor_inference.items.input_spec import ImageInput, TensorInput

IMAGE = ImageInput(height=64, width=64, channels=3)
VECTOR = TensorInput(name="x", item_shape=(6,))
LABELS = [f"class {number}" for number in range(10)]

Items = NDArray[Any]
Outputs = dict[str, Items]
Run = Callable[[Items], Outputs]


def large_resnet18() -> nn.Module:
    """Its last map has values up to 3500, near whose zeros torch and ONNX Runtime differ by 0.003."""
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.resnet18(num_classes=10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            module.weight.data.fill_(1.9)
    return network


@lru_cache
def exported() -> tuple[Run, onnx.ModelProto]:
    """What torch gives, and the graph."""
    example = torch.from_numpy(random_items(IMAGE, 2))
    served = wrap(large_resnet18(), IMAGE, "classify", example)
    return torch_run(served), to_onnx(served, "image", example)


@pytest.mark.slow
def test_maps_up_to_thousands_are_proven(tmp_path: Path) -> None:
    version = export_model(large_resnet18(), ExportRequest("m", "classify", IMAGE, labels=LABELS), tmp_path)
    activations = version.manifest.parity.outputs["activations"]
    assert activations.largest_absolute > 1e-3  # near zeros of the map, where nothing but its scale tells what rounding is
    assert activations.share_of_allowed is not None
    assert activations.share_of_allowed < 0.2


def scaled(weights: Items) -> Items:
    return weights * np.float32(1.01)


def one_channel_scaled(weights: Items) -> Items:
    return np.concatenate([weights[:1] * np.float32(1.01), weights[1:]])


def swapped(weights: Items) -> Items:
    return np.concatenate([weights[1::-1], weights[2:]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "change"),
    [
        ("network.conv1.weight", one_channel_scaled),
        ("network.layer3.0.conv1.weight", scaled),
        ("network.layer4.1.conv2.weight", swapped),
    ],
)
def test_a_layer_that_is_a_little_wrong_is_seen_in_large_maps(layer: str, change: Callable[[Items], Items]) -> None:
    reference, proto = exported()
    wrong = onnx.ModelProto()
    wrong.CopyFrom(proto)
    (tensor,) = (tensor for tensor in wrong.graph.initializer if tensor.name == layer)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(tensor))), layer))
    with pytest.raises(ParityError, match="activations by up to"):
        compare_runs(reference, onnxruntime_run(wrong), IMAGE, None, "torch")


@pytest.mark.slow
def test_items_in_another_order_are_seen_in_large_maps() -> None:
    reference, proto = exported()
    run = onnxruntime_run(proto)
    with pytest.raises(ParityError, match="activations by up to"):
        compare_runs(
            reference,
            lambda items: {name: values[::-1] for name, values in run(items).items()},
            IMAGE,
            None,
            "torch",
        )


class BatchStatistics(nn.Module):
    """A norm that takes the batch's own statistics, and makes maps of thousands."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)
        self.norm.weight.data.fill_(1e3)
        self.linear = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(self.conv(x)).relu().mean((2, 3)))
        return logits


def test_the_batchs_own_statistics_are_seen_in_large_maps(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="items of a batch influence each other"):
        export_model(BatchStatistics(), ExportRequest("m", "classify", IMAGE, labels=LABELS), tmp_path)


def softmax(logits: Items) -> Items:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def classifier(offset: float, step: float) -> Run:
    """Two classes whose logits are nearly equal, both of them around `offset`; `step` is added to one of them."""

    def run(items: Items) -> Outputs:
        logits = np.stack([items[:, 0] + offset, items[:, 1] + offset + step], axis=1).astype(np.float64)
        return {"probabilities": softmax(logits), "logits": logits}

    return run


def without_logits(run: Run) -> Run:
    return lambda items: {"probabilities": run(items)["probabilities"]}


def compared(reference: Run, found: Run) -> bool:
    return compare_runs(reference, found, VECTOR, None, "the reference").passed


def test_probabilities_are_judged_by_the_rounding_of_their_logits() -> None:
    rounding = 2 * np.spacing(np.float32(5000))
    assert compared(classifier(5000, 0), without_logits(classifier(5000, rounding)))
    for offset in (1.0, 5000.0, 1e7):  # however large they are, a tenth and more is not rounding
        with pytest.raises(ParityError, match="probabilities by up to"):
            compared(classifier(offset, 0), without_logits(classifier(offset, 0.5)))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_an_element_near_zero_may_be_off_by_rounding_of_the_largest_and_by_no_more(scale: float) -> None:
    def network(error: float) -> Run:
        def run(items: Items) -> Outputs:
            maps = scale * np.tile(items.astype(np.float64), (1, 2))
            maps[:, 3] = 1e-3 * scale
            maps[:, 0] = scale
            maps[:, 3] += error * scale
            return {"probabilities": softmax(items[:, :3]), "activations": maps}

        return run

    assert compared(network(0), network(2e-6))
    with pytest.raises(ParityError, match="activations by up to"):
        compared(network(0), network(5e-4))


def tagger(logit: float, off: float = 0.0, *, has_logits: bool = True) -> Run:
    """Two classes, each by its own sigmoid, in the float32 of a runtime that is off by a step or two."""

    def run(items: Items) -> Outputs:
        logits = np.stack([items[:, 0] + logit + off, items[:, 1]], axis=1).astype(np.float64)
        outputs: dict[str, Items] = {"probabilities": (1 / (1 + np.exp(-logits))).astype(np.float32)}
        outputs[SIGMOID] = np.ones((len(items), 1))
        return outputs | ({"logits": logits} if has_logits else {})

    return run


@pytest.mark.parametrize("has_logits", [True, False])
@pytest.mark.parametrize("logit", [-9.0, -5.0, 0.0, 5.0, 9.0])
def test_sigmoids_near_zero_and_near_one_are_compared_by_their_logits(logit: float, has_logits: bool) -> None:
    reference = tagger(logit, has_logits=has_logits)
    assert compared(reference, tagger(logit, 1e-5))
    with pytest.raises(ParityError, match="probabilities by up to"):
        compared(reference, tagger(logit, 0.1))


def test_a_saturated_sigmoid_may_be_off_by_the_steps_of_float32() -> None:
    def rounded(items: Items) -> Outputs:
        outputs = dict(tagger(30)(items))
        return outputs | {"probabilities": outputs["probabilities"] - np.float32(2**-23)}

    assert compared(tagger(30), rounded)
    with pytest.raises(ParityError, match="probabilities by up to"):
        compared(tagger(30), tagger(9))
