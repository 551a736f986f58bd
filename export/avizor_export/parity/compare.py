"""Check parity: the graph on ONNX Runtime returns what its reference returns, on several batch sizes and kinds of items.

The reference is the torch module, or for an adopted ONNX file the reference evaluator of the onnx package. `tolerances.py` says
how much they may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx

from avizor_export.graph.optional_outputs import or_left_out
from avizor_export.graph.wrapped_network import WrappedNetwork
from avizor_export.parity.constant_outputs import same_for_all
from avizor_export.parity.probe_items import BATCH_SIZES, items_by_kind, rows_of_batch
from avizor_export.parity.ranks import rank_correlation
from avizor_export.parity.rounding import Perturbed, own_deviation, perturbation
from avizor_export.parity.soundness import Run, run_reference
from avizor_export.parity.tolerances import (
    ABSOLUTE_TOLERANCE,
    RELATIVE_TOLERANCE,
    ROOT_TOLERANCE,
    SCALE_TOLERANCE,
    allowed,
    noise_of,
    output_differences,
    root_noise,
    same_class,
    worse,
)
from avizor_export.stages import stage
from avizor_inference.arrays import Items
from avizor_inference.engines.ort_session import open_session
from avizor_inference.errors import EngineError, ExportError, ItemsInfluenceError, ParityError
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.reports import LEAST_RANK_CORRELATION, OutputDifference, ParityReport


def torch_run(model: WrappedNetwork) -> Run:
    """Return a function that runs the torch module, as a reference."""
    return model.as_reference


def onnxruntime_run(proto: onnx.ModelProto, *, optimised: bool = True) -> Run:
    """Return a function that runs the graph on ONNX Runtime, on the CPU. Raises ExportError if the graph cannot be loaded.

    optimised: True runs the graph as an engine does, False runs each node as the graph has it. The function raises ExportError
    if the graph fails on the items.
    """
    try:
        session = open_session(proto.SerializeToString(), "the graph", optimised=optimised)
    except EngineError as error:
        raise ExportError(str(error)) from error
    names = [output.name for output in session.get_outputs()]
    (tensor,) = session.get_inputs()

    def run(items: Items) -> dict[str, Items]:
        try:
            return dict(zip(names, session.run(names, {tensor.name: items}), strict=True))
        except Exception as error:  # the runtime's own exceptions have no common base class
            raise ExportError(f"ONNX Runtime cannot run the graph on {len(items)} items: {error}") from error

    return run


def compare_runs(
    reference: Run, graph: Run, spec: InputSpec, real: Items | None, compared_with: str, perturbed: Perturbed | None = None
) -> ParityReport:
    """Compare every output on batches of 1, 2, 3 and 8 items: zeros, random, real if there are any, and rows without values.

    Rows without values are for tables alone. real: raw items [n >= 1, *item_shape], repeated if there are fewer than 8.
    compared_with: the reference's name. perturbed: the reference on perturbed features. With it, zeros are left out if the
    perturbation changes the reference by as much as the graph differs from it.
    Raises ExportError if the reference is not finite, is random, or lets items influence each other; ParityError if an output
    differs (which, by how much, on what), if the most probable class differs beyond a tie, or if scores rank items in another
    order.
    """
    total, samples, expected = _Comparison(), [], {}
    for kind, items in items_by_kind(spec, real).items():
        with stage(f"compare with {compared_with}: {kind}"):
            comparison = _compare_kind(reference, graph, items, kind)
            is_rounding = kind == _CONSTANT and perturbed and _is_rounding(comparison, reference, spec, items, perturbed)
        if is_rounding:
            continue
        if comparison.refused:
            raise comparison.refused
        samples.append(kind)
        expected[kind] = comparison.expected
        total.merge(comparison)
    report = ParityReport(
        compared_with=compared_with,
        absolute_tolerance=ABSOLUTE_TOLERANCE,
        relative_tolerance=RELATIVE_TOLERANCE,
        root_tolerance=ROOT_TOLERANCE,
        scale_tolerance=SCALE_TOLERANCE,
        batch_sizes=BATCH_SIZES,
        samples=tuple(samples),
        outputs=total.worst,
        top1_agreement=total.top1_agreement,
        rank_correlation=total.rank_correlation,
        same_for_all=same_for_all(expected),
        own_rounding={name: noise for name in total.worst if (noise := _largest_noise(expected.values(), name))},
    )
    if not report.passed:
        failed = [name for name, output in report.outputs.items() if not output.passed]
        raise ParityError(
            f"the graph does not return what {compared_with} returns: {'; '.join(_differences(report))}; {_ADVICE}"
            f"{or_left_out(*failed)}"
        )
    return report


def _largest_noise(expected: Iterable[Mapping[str, Items]], name: str) -> float:
    return max((noise_of(outputs, name) for outputs in expected), default=0.0)


def _is_rounding(comparison: _Comparison, reference: Run, spec: InputSpec, items: Items, perturbed: Perturbed) -> bool:
    """Return whether the two differ, and the reference itself changes as much when its features change by a few roundings."""
    if comparison.agreed:
        return False
    change = perturbation(spec, items)
    if change is None:
        return False
    shares = own_deviation(reference(items), perturbed(change)(items))
    if comparison.refused:  # a real influence between items shows on random items too
        return max(shares.values()) > 1
    return all(
        (difference.share_of_allowed or 0.0) <= max(1.0, _LARGER_SUMS * shares[name])
        for name, difference in comparison.worst.items()
    )


# The sums of large maps differ by more than the few roundings by which features are perturbed.
_LARGER_SUMS = 10
# The kind of items whose feature maps are constant.
_CONSTANT = "zeros"

_ADVICE = (
    "look in the network for an operation that jumps at a rounding (round, argmax, a comparison), for a norm over a map that "
    "is constant, and for values so large that float32 keeps no digits after the point; export only its first layers to find "
    "the one that differs"
)


def _compare_kind(reference: Run, graph: Run, items: Items, kind: str) -> _Comparison:
    """Compare graph and reference on batches of every size, of the 8 items of one kind."""
    comparison = _Comparison()
    try:
        expected = run_reference(reference, items, kind)
    except ItemsInfluenceError as error:
        comparison.refused = error
        return comparison
    comparison.expected = expected[max(BATCH_SIZES)]
    for size in BATCH_SIZES:
        batch = np.ascontiguousarray(items[rows_of_batch(size)])
        comparison.add(expected[size], graph(batch), f"{kind}, batch of {size}")
    return comparison


class _Comparison:
    """Collect the differences over batches.

    worst: the worst difference of each output. expected: the reference's outputs for the largest batch. refused: the error of a
    reference whose items influence each other; rounding can look like that.
    """

    def __init__(self) -> None:
        self.worst: dict[str, OutputDifference] = {}
        self.expected: Mapping[str, Items] = {}
        self.refused: ItemsInfluenceError | None = None
        self._same_class: list[bool] = []
        self._root_scores: list[tuple[float, float]] = []
        self._noise = 0.0

    @property
    def agreed(self) -> bool:
        """Return whether every output is within its tolerance, and the most probable class is the same for every item."""
        passed = all(difference.passed for difference in self.worst.values())
        return passed and not self.refused and self.top1_agreement in (None, 1)

    def merge(self, other: _Comparison) -> None:
        """Add the differences on another kind of items."""
        self._keep_worst(other.worst)
        self._same_class += other._same_class
        self._root_scores += other._root_scores
        self._noise = max(self._noise, other._noise)

    def add(self, expected: Mapping[str, Items], actual: Mapping[str, Items], sample: str) -> None:
        """Add the differences on one batch. expected, actual: outputs [n, ...] by name. sample: what the batch is, in words."""
        self._keep_worst(output_differences(expected, actual, sample))
        if "probabilities" in expected:
            self._same_class += same_class(expected, actual)
        if "score" in expected:
            roots = [np.sqrt(np.maximum(outputs["score"][:, 0].astype(np.float64), 0)) for outputs in (expected, actual)]
            self._root_scores += zip(*(root.tolist() for root in roots), strict=True)
            self._noise = max(self._noise, root_noise(expected))

    def _keep_worst(self, differences: Mapping[str, OutputDifference]) -> None:
        for name, difference in differences.items():
            self.worst[name] = worse(self.worst.get(name), difference)

    @property
    def top1_agreement(self) -> float | None:
        """Return the share of items with the same most probable class, 0..1; None without probabilities."""
        return float(np.mean(self._same_class)) if self._same_class else None

    @property
    def rank_correlation(self) -> float | None:
        """Return Spearman's rank correlation of the scores, -1..1; None without scores, or if too few of them differ.

        The roots of the scores are ranked: they have the same order, and their roundings are all of one size.
        """
        return rank_correlation(np.array(self._root_scores), self._noise) if self._root_scores else None


def _differences(report: ParityReport) -> Iterator[str]:
    """Yield what differs too much, in words."""
    for name, output in report.outputs.items():
        if not output.passed:
            noise = report.own_rounding.get(name, 0.0)
            own = f" + {noise:.3g} for its own rounding" if noise else ""
            yield f"{name} by up to {output.largest_absolute:.3g} on {output.sample} (allowed: {allowed(name)}{own})"
    if report.top1_agreement is not None and report.top1_agreement < 1:
        yield f"the most probable class on {1 - report.top1_agreement:.1%} of the items"
    if report.rank_correlation is not None and report.rank_correlation < LEAST_RANK_CORRELATION:
        yield f"the order of the scores, whose rank correlation is {report.rank_correlation:.3f}"
