"""Parity: the graph on ONNX Runtime gives what its reference gave, on several batch sizes and kinds of items.

The reference is the torch module, or for an adopted ONNX file the reference evaluator of the onnx package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from avizor_export.served import ServedModel
from avizor_inference.errors import ExportError, ParityError
from avizor_inference.inputs import TensorSpec
from avizor_inference.reports import OutputDifference, ParityReport

BATCH_SIZES = (1, 2, 3, 8)
ABSOLUTE_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-3
# Scores that are nearly equal may change places; more than that is another model.
LEAST_RANK_CORRELATION = 0.99
# Fewer different scores than this say nothing about their order.
_FEWEST_RANKS = 8
# Scores whose difference is a smaller share of them are the same but for rounding.
_TIE = 1e-5

Items = NDArray[np.generic]
# Raw items [n, *item_shape] -> each output by name, [n, ...].
Run = Callable[[Items], dict[str, Items]]


def torch_run(model: ServedModel) -> Run:
    """The torch module as a reference."""

    def run(items: Items) -> dict[str, Items]:
        with torch.inference_mode():
            return {name: value.numpy() for name, value in model.named(torch.from_numpy(items)).items()}

    return run


def onnxruntime_run(proto: onnx.ModelProto) -> Run:
    """A graph on ONNX Runtime, on the CPU."""
    try:
        session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions share no base class of theirs
        raise ExportError(f"ONNX Runtime cannot load the graph: {error}") from error
    names = [output.name for output in session.get_outputs()]
    (tensor,) = session.get_inputs()

    def run(items: Items) -> dict[str, Items]:
        try:
            return dict(zip(names, session.run(names, {tensor.name: items}), strict=True))
        except Exception as error:
            raise ExportError(f"ONNX Runtime cannot run the graph on {len(items)} items: {error}") from error

    return run


def compare(reference: Run, found: Run, tensor: TensorSpec, real: Items | None, compared_with: str) -> ParityReport:
    """Compare every output on batches of 1, 2, 3 and 8 of zeros, random and (where given) real items; of a table also of
    rows without any value.

    real: raw items [n >= 1, *item_shape], repeated where there are fewer than 8. compared_with: what the reference is.
    Raises ExportError if the reference is not finite; ParityError if an output differs (which, by how much, on what), if the
    most probable class differs beyond a tie, or if scores rank items in another order.
    """
    kinds = _kinds(tensor, real)
    worst: dict[str, OutputDifference] = {}
    agreed: list[bool] = []
    scores: list[tuple[float, float]] = []
    for sample, items in _batches(kinds):
        expected, got = reference(items), found(items)
        _refuse_non_finite(expected, sample)
        for name, wanted in expected.items():
            difference = _difference(wanted, got[name], sample)
            if name not in worst or _rank(difference) > _rank(worst[name]):
                worst[name] = difference
        if "probabilities" in expected:
            agreed += _same_class(expected["probabilities"], got["probabilities"])
        if "score" in expected:
            scores += zip(expected["score"][:, 0].tolist(), got["score"][:, 0].tolist(), strict=True)
    report = ParityReport(
        compared_with=compared_with,
        absolute_tolerance=ABSOLUTE_TOLERANCE,
        relative_tolerance=RELATIVE_TOLERANCE,
        batch_sizes=BATCH_SIZES,
        samples=tuple(kinds),
        outputs=worst,
        top1_agreement=float(np.mean(agreed)) if agreed else None,
        rank_correlation=rank_correlation(np.array(scores)) if scores else None,
    )
    if not report.passed:
        raise ParityError(_complaint(report))
    return report


def rank_correlation(pairs: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation of the two columns of float64[n, 2]; None where too few values differ to rank them.

    What differs by rounding is a tie, and ties share their mean rank.
    """
    ranks = [_ranks(column) for column in pairs.T]
    if min(len(np.unique(column)) for column in ranks) < _FEWEST_RANKS:
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(values)
    ascending = values[order]
    # By the distance of neighbours: digits that are rounded off would part what lies on both sides of a half.
    is_next = np.diff(ascending) > _TIE * np.abs(ascending[1:])
    group = np.concatenate([[0], np.cumsum(is_next)])
    counts = np.bincount(group)
    ranks = np.empty(len(values))
    ranks[order] = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return ranks


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
    if tensor.name == "record":  # of a table: NaN is a value that is missing
        kinds["missing"] = np.full((most, *tensor.item_shape), np.nan, tensor.dtype)
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
                f"output {name} of the network is not finite on {sample}; look for overflow or NaN in the weights"
            )


def _same_class(wanted: Items, got: Items) -> list[bool]:
    """Whether each item's most probable class is the reference's, or one that ties with it there."""
    wide = wanted.astype(np.float64)
    chosen = got.argmax(axis=1)
    return (wide[np.arange(len(wide)), chosen] >= wide.max(axis=1) - ABSOLUTE_TOLERANCE).tolist()  # type: ignore[no-any-return]


def _difference(wanted: Items, got: Items, sample: str) -> OutputDifference:
    if wanted.shape != got.shape:
        raise ExportError(f"the exported graph gives {list(got.shape)} where {list(wanted.shape)} is wanted ({sample})")
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
    if report.top1_agreement is not None and report.top1_agreement < 1:
        parts.append(f"the most probable class on {1 - report.top1_agreement:.1%} of the items")
    if report.rank_correlation is not None and report.rank_correlation < LEAST_RANK_CORRELATION:
        parts.append(f"the order of the scores, whose rank correlation is {report.rank_correlation:.3f}")
    return (
        f"the graph does not give what {report.compared_with} gives (allowed {report.absolute_tolerance:g} + "
        f"{report.relative_tolerance:g} of the value): {'; '.join(parts)}"
    )
