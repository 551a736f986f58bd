"""Check that the reports in a manifest support their own result: a number may have been changed or removed."""

from __future__ import annotations

from collections.abc import Iterator

from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.reports import Agreement, ParityReport, VariantReport

_ROUNDING = 1e-6
# The largest scale with which export tolerates the rounding of logits.
_LARGEST_LOGIT = 1e4


def report_problems(manifest: Manifest) -> Iterator[str]:
    """Yield what is contradictory or missing, one line each."""
    parity, variant = manifest.parity, manifest.variant
    names = [output.name for output in manifest.outputs]
    yield from _of_agreement(parity, parity, names, "the parity report")
    if parity.server:
        yield from _of_agreement(parity.server, parity, names, f"the parity report through {parity.server.address}")
    for what, compared in (("samples", parity.samples), ("batch sizes", parity.batch_sizes)):
        if not compared:
            yield f"the parity report names no {what}; export again"
    if not parity.passed:
        yield "the parity report did not pass; export again"
    if variant:
        yield from _of_variant(variant)
        for name in names:
            if name not in variant.outputs:
                yield f"the report on {manifest.precision} says nothing of {name}; export again"
        if not variant.passed:
            yield f"{manifest.precision} lost more {variant.metric} than its max_drop; export again"


def _of_agreement(agreement: Agreement, report: ParityReport, names: list[str], what: str) -> Iterator[str]:
    for name in names:
        if name not in agreement.outputs:
            yield f"{what} says nothing of {name}; export again"
    for name, output in agreement.outputs.items():
        if not output.passed:
            continue
        if output.share_of_allowed is not None and not 0 <= output.share_of_allowed <= 1:
            yield f"in {what}, {name} passed, and its difference is {output.share_of_allowed:g} times what is allowed"
        # The range of values, and with it the largest difference allowed, is known for this output only.
        allowed = report.absolute_tolerance + report.relative_tolerance
        if report.scale_tolerance is not None:
            allowed += report.scale_tolerance * _LARGEST_LOGIT
        if name == "probabilities" and not 0 <= output.largest_absolute <= allowed * (1 + _ROUNDING):
            yield f"in {what}, {name} passed, and its difference of {output.largest_absolute:g} is over what is allowed"


def _of_variant(variant: VariantReport) -> Iterator[str]:
    if not all(0 <= value <= 1 for value in (variant.before, variant.after)):
        yield f"{variant.metric} goes from {variant.before:g} to {variant.after:g}; it is between 0 and 1"
    elif abs(variant.before - variant.after - variant.drop) > _ROUNDING:
        yield f"drop is {variant.drop:g}, and before - after is {variant.before - variant.after:g}"
    if variant.server and not 0 <= variant.server.after <= 1:
        yield f"{variant.metric} through {variant.server.address} is {variant.server.after:g}; it is between 0 and 1"
