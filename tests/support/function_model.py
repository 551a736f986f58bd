"""Serve a function of arrays as a model, so that a test can choose what the model computes and see each batch that it gets."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from avizor_inference.arrays import Array, Items
from avizor_inference.engines.base import Engine, InferRequest, ModelSpec, check_request
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelVersion

Function = Callable[[Items], Array]


class FunctionEngine(Engine):
    """Runs one function: [n, *item_shape] -> float32[n, classes], or [n, 1] of an autoencoder. batches: their sizes so far."""

    def __init__(self, spec: InputSpec, output: TensorSpec, function: Function, max_batch_size: int) -> None:
        tensor = spec.tensor_spec
        inputs, outputs = {tensor.name: tensor}, {output.name: output}
        self._spec = ModelSpec("function", 1, inputs, outputs, max_batch_size, "", "onnxruntime-cpu")
        self._function = function
        self.batches: list[int] = []

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        return self._spec

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        self.batches.append(check_request(self._spec, request))
        (rows,) = request.inputs.values()
        (output,) = request.outputs
        done: Future[dict[str, Array]] = Future()
        done.set_result({output: self._function(rows)})
        return done

    def ready(self, timeout_s: float = 1.0) -> bool:
        return True

    def close(self) -> None:
        pass


def function_model(
    spec: InputSpec, function: Function, labels: tuple[str, ...] | None = None, max_batch_size: int = 8
) -> tuple[FunctionEngine, ModelVersion]:
    """Return an engine and a version whose model is the function: a classifier with labels, else an autoencoder's score."""
    name, size = ("probabilities", len(labels)) if labels else ("score", 1)
    output = TensorSpec(name=name, dtype="float32", item_shape=(size,))
    manifest = Manifest.model_construct(
        name="function",
        version=1,
        task="classify" if labels else "reconstruct",
        input=spec,
        outputs=(output,),
        labels=labels,
        model_sha256="",
    )
    version = ModelVersion("function", 1, Path("function/1"))
    version.__dict__["manifest"] = manifest
    return FunctionEngine(spec, output, function, max_batch_size), version


def network_of(spec: InputSpec, classes: int, gain: float = 2.0, seed: int = 0) -> Function:
    """Return a small random network of two layers with a softmax, whose answers change much when parts of an item change."""
    rng = np.random.default_rng(seed)
    tensor = spec.tensor_spec
    inputs = int(np.prod(tensor.item_shape))
    middle, scale = (128, 40) if tensor.dtype == "uint8" else (0, 1)
    first = rng.standard_normal((inputs, 16)) / np.sqrt(inputs)
    second = rng.standard_normal((16, classes)) * 0.6

    def run(rows: Items) -> Array:
        values = (np.nan_to_num(rows.reshape(len(rows), -1).astype(np.float64)) - middle) / scale
        hidden = np.tanh(values @ first * gain)
        logits = hidden @ second
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    return run
