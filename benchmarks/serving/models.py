"""Export the models of the benchmark, and build the request of each server for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import tritonclient.http as triton_http
from torch import nn
from torchvision.models import resnet18
from tritonclient.grpc import service_pb2 as triton

from avizor.v1 import inference_pb2 as pb
from avizor_export.architectures.lenet import LeNet
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.items.input_spec import TensorInput

INPUT = "item"


@dataclass(frozen=True)
class BenchModel:
    """Describes one model of the benchmark. shape: of one item, float32."""

    name: str
    title: str
    shape: tuple[int, ...]

    @property
    def path(self) -> str:
        """Return where the Open Inference Protocol's REST form takes requests."""
        return f"/v2/models/{self.name}/infer"

    def item(self) -> bytes:
        """Return one item as bytes."""
        return bytes(np.random.default_rng(0).standard_normal(self.shape, dtype=np.float32).tobytes())

    def for_gateway(self) -> bytes:
        """Return a request of avizor.v1's Classify."""
        tensor = pb.Tensor(dtype="float32", shape=self.shape, data=self.item())
        return pb.ClassifyRequest(model=self.name, items=[pb.Item(tensor=tensor)]).SerializeToString()

    def for_open_inference(self) -> bytes:
        """Return a request of the Open Inference Protocol's ModelInfer."""
        request = triton.ModelInferRequest(model_name=self.name, raw_input_contents=[self.item()])
        request.inputs.add(name=INPUT, datatype="FP32", shape=[1, *self.shape])
        request.outputs.add(name="probabilities")
        return bytes(request.SerializeToString())

    def for_http(self, *, binary: bool) -> tuple[bytes, dict[str, str]]:
        """Return a request of the Open Inference Protocol's REST form, and its headers. binary: tensors are not JSON."""
        inputs = triton_http.InferInput(INPUT, [1, *self.shape], "FP32")
        inputs.set_data_from_numpy(np.frombuffer(self.item(), np.float32).reshape(1, *self.shape), binary_data=binary)
        outputs = [triton_http.InferRequestedOutput("probabilities", binary_data=binary)]
        body, length = triton_http.InferenceServerClient.generate_request_body([inputs], outputs=outputs)
        return bytes(body), {"inference-header-content-length": str(length)} if binary else {}


LENET = BenchModel("lenet", "LeNet", (1, 32, 32))
R18 = BenchModel("r18", "ResNet-18-sized", (1, 64, 96))


# The same network as R18 on four times as many pixels.
SLOW = BenchModel("slow", "slow", (1, 128, 192))


def export(model: BenchModel, folder: Path, **serving: int) -> None:
    """Export a model with random weights: speed does not depend on them. serving: settings other than the defaults."""
    torch.manual_seed(0)
    network: nn.Module = LeNet()
    if model is not LENET:
        network = resnet18(num_classes=10)
        network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    spec = TensorInput(name=INPUT, item_shape=model.shape)
    request = ExportRequest(model.name, "classify", spec, labels=list("0123456789"), serving=cast(ServingOptions, serving))
    export_model(network.eval(), request, folder)
