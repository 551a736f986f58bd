"""A proven FP32 graph in another precision, under guard: what it lost on held-out items, and what it gained in speed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import JsonValue

from avizor_export.parity import onnxruntime_run, rank_correlation
from avizor_export.to_onnx import check_proto, strip_traces
from avizor_export.variants.half import halve, rounded_to_half
from avizor_export.variants.int8 import FEWEST_ITEMS, quantise
from avizor_export.variants.quality import METRIC_OF, OUTPUT_OF, LabelledItems, quality
from avizor_export.variants.speed import compare_speed
from avizor_inference.embedded import CPU
from avizor_inference.errors import ExportError
from avizor_inference.manifest import Manifest, Precision, Task
from avizor_inference.reports import VariantDifference, VariantReport

Items = NDArray[np.generic]

# Fewer held-out items cannot show a drop of 0.01.
FEWEST_HELD_OUT = 100
_BATCH = 32


@dataclass(frozen=True)
class Guard:
    """What a variant is measured on, and the largest drop of accuracy or ROC AUC that is allowed."""

    task: Task
    held_out: LabelledItems
    max_drop: float


def check_variant_data(precision: Precision, items: Items | None, held_out: LabelledItems | None) -> None:
    """Raise ExportError unless there is what a variant is made from and measured on."""
    if precision == "fp32":
        return
    if held_out is None or len(held_out.items) < FEWEST_HELD_OUT:
        given = "no" if held_out is None else f"{len(held_out.items)}"
        raise ExportError(
            f"{given} labelled held-out items to prove {precision} on; give at least {FEWEST_HELD_OUT} with --evaluate-on"
        )
    if precision == "int8" and (items is None or len(items) < FEWEST_ITEMS):
        given = "no" if items is None else f"{len(items)}"
        raise ExportError(
            f"{given} real items to measure the range of int8's activations on; give at least {FEWEST_ITEMS} with --items"
        )


def make_variant(
    proto: onnx.ModelProto, precision: Precision, items: Items | None, guard: Guard
) -> tuple[onnx.ModelProto, VariantReport]:
    """The graph in another precision, and what that changed. items: real raw items, for the ranges of int8.

    Raises ExportError if there is too little to measure it on, if it cannot be made, or if it loses more than is allowed.
    """
    check_variant_data(precision, items, guard.held_out)
    made, settings = quantise(proto, items) if precision == "int8" and items is not None else halve(proto)
    strip_traces(made)
    check_proto(made)
    _check_loads(made, precision)
    report = _report(proto, made, rounded_to_half(proto) if precision == "fp16" else made, settings, guard)
    if not report.passed:
        raise ExportError(complaint(precision, report, report.after))
    return made, report


def _check_loads(made: onnx.ModelProto, precision: Precision) -> None:
    try:
        onnxruntime_run(made)
    except Exception as error:  # the runtime's own exceptions share no base class of theirs
        why = " ".join(str(error).split())[:300]
        raise ExportError(f"ONNX Runtime cannot run the network in {precision} on this CPU: {why}; publish fp32") from error


def complaint(precision: Precision, report: VariantReport, after: float) -> str:
    """Why a variant is refused."""
    return (
        f"{precision} loses {report.before - after:.4f} of {report.metric} ({report.before:.4f} to {after:.4f} on "
        f"{report.items} held-out items), over --max-drop {report.max_drop:g}; publish fp32, allow the drop"
        + (", or give more varied --items" if precision == "int8" else "")
    )


def remark(manifest: Manifest) -> str | None:
    """What whoever exports a variant has to know of its speed: int8 that is not faster here, or fp16 timed on a CPU."""
    variant = manifest.variant
    if variant is None:
        return None
    if manifest.precision == "fp16":
        return "fp16 is meant for GPUs; its speed was measured on a CPU and promises nothing"
    slow = [f"{each.ratio:.2f} times fp32 at batch {each.batch_size}" for each in variant.speed if each.ratio <= 1]
    return f"{manifest.precision} is not faster on this machine: {', '.join(slow)}; small networks are not" if slow else None


def _report(
    before: onnx.ModelProto, after: onnx.ModelProto, measured: onnx.ModelProto, settings: dict[str, JsonValue], guard: Guard
) -> VariantReport:
    """measured: what gives `after`'s figures on this CPU."""
    held_out = guard.held_out
    comparison = _Comparison(guard.task)
    for start, wanted, got in _both(before, measured, held_out):
        comparison.add(start, wanted, got)
    old, new = (np.concatenate(values) for values in (comparison.before, comparison.after))
    was, now = (quality(guard.task, values, held_out.labels) for values in (old, new))
    classify = guard.task == "classify"
    return VariantReport(
        metric=METRIC_OF[guard.task],
        before=was,
        after=now,
        drop=was - now,
        max_drop=guard.max_drop,
        items=len(held_out.items),
        provider=CPU,
        fp32_sha256=hashlib.sha256(before.SerializeToString()).hexdigest(),
        fp32_bytes=before.ByteSize(),
        outputs=comparison.worst,
        top1_agreement=float(np.mean(old.argmax(axis=1) == new.argmax(axis=1))) if classify else None,
        rank_correlation=None if classify else rank_correlation(np.concatenate([old, new], axis=1).astype(np.float64)),
        speed=compare_speed(before, after, held_out.items[:_BATCH], OUTPUT_OF[guard.task]),
        settings=settings,
    )


def _both(
    before: onnx.ModelProto, after: onnx.ModelProto, held_out: LabelledItems
) -> Iterator[tuple[int, dict[str, Items], dict[str, Items]]]:
    """Place of the first item, and the outputs of both graphs, batch by batch."""
    first, second = onnxruntime_run(before), onnxruntime_run(after)
    for index, batch in enumerate(held_out.batches(_BATCH)):
        yield index * _BATCH, first(batch), second(batch)


class _Comparison:
    """The main output of both graphs for all items, and the largest difference of each output."""

    def __init__(self, task: Task) -> None:
        self._output = OUTPUT_OF[task]
        self.before: list[Items] = []
        self.after: list[Items] = []
        self.worst: dict[str, VariantDifference] = {}

    def add(self, start: int, wanted: dict[str, Items], got: dict[str, Items]) -> None:
        """One batch, whose first item is the `start`-th."""
        self.before.append(wanted[self._output])
        self.after.append(got[self._output])
        for name, values in wanted.items():
            difference = np.abs(got[name].astype(np.float64) - values.astype(np.float64)).reshape(len(values), -1).max(axis=1)
            difference = np.nan_to_num(difference, nan=np.finfo(np.float64).max, posinf=np.finfo(np.float64).max)
            worst = int(difference.argmax())
            if name not in self.worst or difference[worst] > self.worst[name].largest_absolute:
                self.worst[name] = VariantDifference(largest_absolute=float(difference[worst]), item=start + worst)
