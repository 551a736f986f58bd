"""Parity: the graph on ONNX Runtime returns what its reference returns, on several batch sizes and kinds of items.

The reference is the torch module, or for an adopted ONNX file the reference evaluator of the onnx package. How much
may differ is in `tolerances.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    output_differences,
    root_noise,
    same_class,
    worse,
)
from avizor_inference.arrays import Items
from avizor_inference.engines.ort_session import open_session
from avizor_inference.errors import EngineError, ExportError, ItemsInfluenceError, ParityError
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.repository.reports import LEAST_RANK_CORRELATION, OutputDifference, ParityReport


def torch_run(model: WrappedNetwork) -> Run:
    """The torch module as a reference."""
    return model.as_reference


def onnxruntime_run(proto: onnx.ModelProto, *, optimised: bool = True) -> Run:
    """A graph on ONNX Runtime, on the CPU. optimised: as an engine runs it; or each node as it is written."""
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
    reference: Run, found: Run, spec: InputSpec, real: Items | None, compared_with: str, perturbed: Perturbed | None = None
) -> ParityReport:
    """Compare every output on batches of 1, 2, 3 and 8 of zeros, random and (where given) real items; of a table also of
    rows without any value.

    real: raw items [n >= 1, *item_shape], repeated where there are fewer than 8. compared_with: what the reference is.
    perturbed: the reference on perturbed features. If it is given, zeros are left out where the perturbation changes the
    reference by as much as the graph differs from it.
    Raises ExportError if the reference is not finite, is random, or lets items influence each other; ParityError if an output
    differs (which, by how much, on what), if the most probable class differs beyond a tie, or if scores rank items in another
    order.
    """
    kinds = items_by_kind(spec, real)
    found_so_far, samples, expected = _Findings(), [], {}
    for kind, items in kinds.items():
        here = _findings(reference, found, items, kind)
        if kind == _CONSTANT and perturbed and not here.agreed and _is_rounding(here, reference, spec, items, perturbed):
            continue
        if here.refused:
            raise here.refused
        samples.append(kind)
        expected[kind] = here.expected
        found_so_far.merge(here)
    report = ParityReport(
        compared_with=compared_with,
        absolute_tolerance=ABSOLUTE_TOLERANCE,
        relative_tolerance=RELATIVE_TOLERANCE,
        root_tolerance=ROOT_TOLERANCE,
        scale_tolerance=SCALE_TOLERANCE,
        batch_sizes=BATCH_SIZES,
        samples=tuple(samples),
        outputs=found_so_far.worst,
        top1_agreement=found_so_far.top1_agreement,
        rank_correlation=found_so_far.rank_correlation,
        same_for_all=same_for_all(expected),
    )
    if not report.passed:
        failed = [name for name, output in report.outputs.items() if not output.passed]
        raise ParityError(
            f"the graph does not give what {compared_with} gives: {'; '.join(_complaints(report))}; {_ADVICE}"
            f"{or_left_out(*failed)}"
        )
    return report


def _is_rounding(here: _Findings, reference: Run, spec: InputSpec, items: Items, perturbed: Perturbed) -> bool:
    """Whether the reference itself goes as far on these items when its features move by a rounding."""
    by = perturbation(spec, items)
    if by is None:
        return False
    shares = own_deviation(reference(items), perturbed(by)(items))
    if here.refused:  # what influences items in earnest shows on random ones
        return max(shares.values()) > 1
    return all((each.share_of_allowed or 0.0) <= max(1.0, _MOVES * shares[name]) for name, each in here.worst.items())


# The sums of large maps are further off than the few roundings by which features are moved.
_MOVES = 10
# The kind of items whose maps are constant.
_CONSTANT = "zeros"

_ADVICE = (
    "look in the network for what jumps at a rounding (round, argmax, a comparison), for a norm over a map that is constant, "
    "and for values so large that float32 keeps no digits after the point; export it cut shorter to find the layer"
)


def _findings(reference: Run, found: Run, items: Items, kind: str) -> _Findings:
    """On batches of every size, of the 8 items of a kind."""
    here = _Findings()
    try:
        expected = run_reference(reference, items, kind)
    except ItemsInfluenceError as error:
        here.refused = error
        return here
    here.expected = expected[max(BATCH_SIZES)]
    for size in BATCH_SIZES:
        here.add(expected[size], found(np.ascontiguousarray(items[rows_of_batch(size)])), f"{kind}, batch of {size}")
    return here


class _Findings:
    """What was found over batches; `refused` if the reference was, which may be by rounding. expected: of the largest batch."""

    def __init__(self) -> None:
        self.worst: dict[str, OutputDifference] = {}
        self.expected: Mapping[str, Items] = {}
        self.refused: ItemsInfluenceError | None = None
        self._agreed: list[bool] = []
        self._root_scores: list[tuple[float, float]] = []
        self._noise = 0.0

    @property
    def agreed(self) -> bool:
        """Whether every output did, and the most probable class."""
        return not self.refused and self.top1_agreement in (None, 1) and all(each.passed for each in self.worst.values())

    def merge(self, other: _Findings) -> None:
        """Take in what was found on another kind of items."""
        for name, difference in other.worst.items():
            self.worst[name] = worse(self.worst.get(name), difference)
        self._agreed += other._agreed
        self._root_scores += other._root_scores
        self._noise = max(self._noise, other._noise)

    def add(self, expected: Mapping[str, Items], got: Mapping[str, Items], sample: str) -> None:
        """One batch."""
        for name, difference in output_differences(expected, got, sample).items():
            self.worst[name] = worse(self.worst.get(name), difference)
        if "probabilities" in expected:
            self._agreed += same_class(expected, got)
        if "score" in expected:
            roots = [np.sqrt(np.maximum(each["score"][:, 0].astype(np.float64), 0)) for each in (expected, got)]
            self._root_scores += zip(*(root.tolist() for root in roots), strict=True)
            self._noise = max(self._noise, root_noise(expected))

    @property
    def top1_agreement(self) -> float | None:
        """Share of items with the same most probable class."""
        return float(np.mean(self._agreed)) if self._agreed else None

    @property
    def rank_correlation(self) -> float | None:
        """Of the scores; their roots have the same order, and roundings of one size."""
        return rank_correlation(np.array(self._root_scores), self._noise) if self._root_scores else None


def _complaints(report: ParityReport) -> Iterator[str]:
    for name, output in report.outputs.items():
        if not output.passed:
            yield f"{name} by up to {output.largest_absolute:.3g} on {output.sample} (allowed: {allowed(name)})"
    if report.top1_agreement is not None and report.top1_agreement < 1:
        yield f"the most probable class on {1 - report.top1_agreement:.1%} of the items"
    if report.rank_correlation is not None and report.rank_correlation < LEAST_RANK_CORRELATION:
        yield f"the order of the scores, whose rank correlation is {report.rank_correlation:.3f}"
