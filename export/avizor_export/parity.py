"""Parity: the exported graph on ONNX Runtime gives what the torch module gave, on several batch sizes and kinds of items."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from avizor_export.served import ServedModel
from avizor_inference.errors import ExportError
from avizor_inference.manifest import OutputDifference, ParityReport, TensorSpec

BATCH_SIZES = (1, 2, 3, 8)
ABSOLUTE_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-3

Items = NDArray[np.generic]


def compare(model: ServedModel, proto: onnx.ModelProto, tensor: TensorSpec, real: Items | None) -> ParityReport:
    """Compare every output on batches of 1, 2, 3 and 8 of zeros, random and (where given) real items.

    real: raw items [n >= 1, *item_shape], repeated where there are fewer than 8.
    Raises ExportError if torch's own output is not finite, or if an output differs: which, by how much, on what.
    """
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    kinds = _kinds(tensor, real)
    worst: dict[str, OutputDifference] = {}
    for sample, items in _batches(kinds):
        with torch.inference_mode():
            expected = {name: value.numpy() for name, value in model.named(torch.from_numpy(items)).items()}
        _refuse_non_finite(expected, sample)
        found = session.run(list(expected), {tensor.name: items})
        for (name, wanted), got in zip(expected.items(), found, strict=True):
            difference = _difference(wanted, got, sample)
            if name not in worst or _rank(difference) > _rank(worst[name]):
                worst[name] = difference
    report = ParityReport(
        absolute_tolerance=ABSOLUTE_TOLERANCE,
        relative_tolerance=RELATIVE_TOLERANCE,
        batch_sizes=BATCH_SIZES,
        samples=tuple(kinds),
        outputs=worst,
    )
    if not report.passed:
        raise ExportError(_complaint(report))
    return report


def random_items(tensor: TensorSpec, count: int, seed: int = 0) -> Items:
    """Items of any value that the input may take: all of uint8; -1..1 for sound; a standard normal for the rest."""
    rng = np.random.default_rng(seed)
    shape = (count, *tensor.item_shape)
    if np.issubdtype(np.dtype(tensor.dtype), np.integer):
        return rng.integers(0, 256, shape).astype(tensor.dtype)
    if tensor.name == "waveform":
        return rng.uniform(-1, 1, shape).astype(tensor.dtype)
    return rng.standard_normal(shape).astype(tensor.dtype)


def _kinds(tensor: TensorSpec, real: Items | None) -> dict[str, Items]:
    most = max(BATCH_SIZES)
    kinds = {"zeros": np.zeros((most, *tensor.item_shape), tensor.dtype), "random": random_items(tensor, most)}
    if real is not None and len(real):
        kinds["real"] = np.resize(real, (most, *tensor.item_shape)).astype(tensor.dtype, copy=False)
    return kinds


def _batches(kinds: dict[str, Items]) -> Iterator[tuple[str, Items]]:
    for kind, items in kinds.items():
        for size in BATCH_SIZES:
            yield f"{kind}, batch of {size}", np.ascontiguousarray(items[:size])


def _refuse_non_finite(outputs: dict[str, Items], sample: str) -> None:
    for name, values in outputs.items():
        if not np.isfinite(values.astype(np.float64)).all():
            raise ExportError(
                f"output {name} of the torch module is not finite on {sample}; look for overflow or NaN in the weights"
            )


def _difference(wanted: Items, got: Items, sample: str) -> OutputDifference:
    if wanted.shape != got.shape:
        raise ExportError(f"the exported graph gives {list(got.shape)} where torch gives {list(wanted.shape)} ({sample})")
    wide, other = wanted.astype(np.float64), got.astype(np.float64)
    absolute = np.abs(other - wide)
    allowed = ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(wide)
    return OutputDifference(
        largest_absolute=_largest(absolute),
        largest_relative=_largest(absolute / np.maximum(np.abs(wide), ABSOLUTE_TOLERANCE)),
        sample=sample,
        passed=bool((absolute <= allowed).all()),  # False for NaN as well
    )


def _largest(values: NDArray[np.float64]) -> float:
    return float(np.max(np.nan_to_num(values, nan=np.finfo(np.float64).max), initial=0.0))


def _rank(difference: OutputDifference) -> tuple[bool, float]:
    return (not difference.passed, difference.largest_absolute)


def _complaint(report: ParityReport) -> str:
    parts = [
        f"{name} by up to {output.largest_absolute:.3g} on {output.sample}"
        for name, output in report.outputs.items()
        if not output.passed
    ]
    return (
        f"the exported graph does not give what torch gives (allowed {report.absolute_tolerance:g} + "
        f"{report.relative_tolerance:g} of the value): {'; '.join(parts)}"
    )
