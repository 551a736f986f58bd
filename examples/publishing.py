"""Publish a model with metrics that are measured through the exported graph, not in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from torch import nn

from avizor_export import ExportRequest, export_model
from avizor_inference import EmbeddedEngine, InferRequest, ModelVersion, infer_rows

# Raw items [n, *item_shape] and the name of an output -> that output, float32[n, ...].
Run = Callable[[NDArray[np.generic], str], NDArray[np.float32]]
Metrics = dict[str, float]


def publish_measured(
    network: nn.Module, request: ExportRequest, models: Path, measure: Callable[[Run], Mapping[str, float]]
) -> tuple[ModelVersion, Metrics]:
    """Export twice: first to measure on the embedded engine, then to publish with the metrics in the manifest.

    Return the published version and the metrics.
    """
    with TemporaryDirectory() as folder:
        export_model(network, replace(request, normal=None), Path(folder))
        with EmbeddedEngine(folder, device="cpu") as engine:
            tensor = request.input.tensor().name

            def run(items: NDArray[np.generic], output: str) -> NDArray[np.float32]:
                return infer_rows(engine, InferRequest(request.name, {tensor: items}, [output]))[output].astype(np.float32)

            metrics = dict(measure(run))
    return export_model(network, replace(request, evaluation={**request.evaluation, **metrics}), models), metrics
