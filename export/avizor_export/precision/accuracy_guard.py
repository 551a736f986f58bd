"""Convert a proven FP32 graph to another precision; measure its loss on held-out items and its speed; refuse a large loss."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from pydantic import JsonValue

from avizor_export.data.labelled_items import LabelledItems
from avizor_export.graph.to_onnx import check_proto, strip_traces
from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.ranks import rank_correlation
from avizor_export.precision.float16 import emulate_float16, to_float16
from avizor_export.precision.int8 import FEWEST_ITEMS, quantise
from avizor_export.precision.quality import OUTPUT_OF, chance_level, chance_warning, measure_quality, metric_of, quality
from avizor_export.precision.speed import compare_speed
from avizor_export.triton_config.settings import TENSORRT, Target
from avizor_inference.arrays import Items
from avizor_inference.engines.ort_session import CPU
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Manifest, Precision, Task
from avizor_inference.repository.reports import VariantDifference, VariantReport

# With fewer held-out items, a drop of 0.01 cannot be measured.
FEWEST_HELD_OUT = 100
# An output that is not the guarded one gets a warning if its error is over this share of its standard deviation.
# Sound int8 networks were measured at up to 0.03, those that had lost their negative values at 0.4 and 0.5.
LARGE_SHARE = 0.2
INT8_ON_CUDA = (
    "ONNX Runtime computes int8 networks in float32 on CUDA, which the target gpu uses: the file is smaller, but nothing is "
    "faster; export with --target tensorrt, or --fp16"
)
_BATCH = 32
# Replaces a difference that is not finite; the square of this is finite.
_FAR = 1e150


@dataclass(frozen=True)
class Guard:
    """Hold what a variant is measured on, and the largest drop of its metric (accuracy, ...) that is allowed (0 to 1)."""

    task: Task
    held_out: LabelledItems
    max_drop: float


def check_variant_data(precision: Precision, items: Items | None, held_out: LabelledItems | None) -> None:
    """Raise ExportError if there are too few items to make a variant from, or too few to measure it on."""
    if precision == "fp32":
        return
    if held_out is None or len(held_out.items) < FEWEST_HELD_OUT:
        count = "no" if held_out is None else f"{len(held_out.items)}"
        raise ExportError(
            f"{count} labelled held-out items to prove {precision} on; give at least {FEWEST_HELD_OUT} with --evaluate-on"
        )
    if precision == "int8" and (items is None or len(items) < FEWEST_ITEMS):
        count = "no" if items is None else f"{len(items)}"
        raise ExportError(
            f"{count} real items to measure the range of int8's activations on; give at least {FEWEST_ITEMS} with --items"
        )


def make_version(
    proto: onnx.ModelProto, precision: Precision, items: Items | None, guard: Guard, target: Target
) -> tuple[onnx.ModelProto, VariantReport]:
    """Return the graph in another precision, and a report of what that changed.

    items: real raw items [n, *item_shape], for the ranges of int8. target: the device that the graph will run on. Raises
    ExportError if there are too few items, if FP32 itself is no better than chance on the held-out ones, if the graph cannot be
    converted, or if it loses more than is allowed.
    """
    check_variant_data(precision, items, guard.held_out)
    _check_above_chance(proto, precision, guard)
    variant, settings = quantise(proto, items, target) if precision == "int8" and items is not None else to_float16(proto)
    strip_traces(variant)
    check_proto(variant)
    _check_loads(variant, precision)
    measured = emulate_float16(proto) if precision == "fp16" else variant
    report = _report(proto, variant, measured, {"target": target, **settings}, guard)
    if not report.passed:
        raise ExportError(refusal_message(precision, report, report.after))
    return variant, report


def _check_above_chance(proto: onnx.ModelProto, precision: Precision, guard: Guard) -> None:
    """Raise ExportError if FP32 is no better than chance: then no loss could be seen in the metric."""
    held_out = guard.held_out
    reached = measure_quality(onnxruntime_run(proto), guard.task, held_out)
    chance, _ = chance_level(guard.task, held_out.labels)
    if reached <= chance:
        raise ExportError(
            f"what {precision} loses cannot be measured on the held-out items, on which fp32 is no better than a network "
            f"without any skill: {chance_warning(guard.task, reached, held_out.labels)}; or publish fp32"
        )


def _check_loads(variant: onnx.ModelProto, precision: Precision) -> None:
    try:
        onnxruntime_run(variant)
    except Exception as error:  # the runtime's exceptions share no base class
        reason = one_line(error)
        raise ExportError(f"ONNX Runtime cannot run the network in {precision} on this CPU: {reason}; publish fp32") from error


def refusal_message(precision: Precision, report: VariantReport, after: float) -> str:
    """Return the message for a variant that is refused. after: its metric, here or through a server."""
    return (
        f"{precision} loses {report.before - after:.4f} of {report.metric} ({report.before:.4f} to {after:.4f} on "
        f"{report.items} held-out items), over --max-drop {report.max_drop:g}; publish fp32, allow the drop"
        + (", or give more varied --items" if precision == "int8" else "")
    )


def precision_warnings(manifest: Manifest) -> Iterator[str]:
    """Yield warnings about a variant: outputs that changed much, and a speed that is not higher."""
    variant = manifest.variant
    if variant is None:
        return
    for name, output in variant.outputs.items():
        if name != OUTPUT_OF[manifest.task] and output.share is not None and output.share > LARGE_SHARE:
            yield (
                f"{name} in {manifest.precision} is off by {output.share:.2f} of its standard deviation (root mean square); "
                "do not rely on it, or publish fp32"
            )
    if warning := _speed_warning(manifest.precision, variant):
        yield warning


def _speed_warning(precision: Precision, variant: VariantReport) -> str | None:
    """Return a warning if the variant is not faster on its target, or was not measured there; else None."""
    target = variant.settings.get("target")
    if (precision, target) == ("int8", "gpu"):
        return INT8_ON_CUDA
    if (precision == "fp16" and target != "cpu") or target == TENSORRT:
        return f"{precision} is meant for GPUs; its speed was measured on a CPU, which does not predict the speed on a GPU"
    slow = [f"{speed.ratio:.2f} times fp32 at batch {speed.batch_size}" for speed in variant.speed if speed.ratio <= 1]
    if precision == "fp16":
        return f"fp16 is meant for GPUs, and the target is cpu: {', '.join(slow) or 'usually no faster'}; publish fp32 or int8"
    return f"{precision} is not faster on this machine: {', '.join(slow)}; small networks rarely are" if slow else None


def _report(
    before: onnx.ModelProto, after: onnx.ModelProto, measured: onnx.ModelProto, settings: dict[str, JsonValue], guard: Guard
) -> VariantReport:
    """Compare the graphs. measured: what computes `after`'s outputs on this CPU."""
    held_out = guard.held_out
    comparison = _Comparison(guard.task)
    for start, before_outputs, after_outputs in _run_both(before, measured, held_out):
        comparison.add(start, before_outputs, after_outputs)
    old, new = (np.concatenate(values) for values in (comparison.before, comparison.after))
    old_quality, new_quality = (quality(guard.task, values, held_out.labels) for values in (old, new))
    classify = guard.task == "classify"
    return VariantReport(
        metric=metric_of(guard.task, held_out.labels),
        before=old_quality,
        after=new_quality,
        drop=old_quality - new_quality,
        max_drop=guard.max_drop,
        items=len(held_out.items),
        provider=CPU,
        fp32_sha256=hashlib.sha256(before.SerializeToString()).hexdigest(),
        fp32_bytes=before.ByteSize(),
        outputs=comparison.outputs(),
        top1_agreement=float(np.mean(old.argmax(axis=1) == new.argmax(axis=1))) if classify else None,
        rank_correlation=None if classify else rank_correlation(np.concatenate([old, new], axis=1).astype(np.float64)),
        speed=compare_speed(before, after, held_out.items[:_BATCH], OUTPUT_OF[guard.task]),
        settings=settings,
    )


def _run_both(
    before: onnx.ModelProto, after: onnx.ModelProto, held_out: LabelledItems
) -> Iterator[tuple[int, dict[str, Items], dict[str, Items]]]:
    """Run both graphs batch by batch; yield the index of the batch's first item, and the outputs of both."""
    run_before, run_after = onnxruntime_run(before), onnxruntime_run(after)
    for index, batch in enumerate(held_out.batches(_BATCH)):
        yield index * _BATCH, run_before(batch), run_after(batch)


class _Comparison:
    """Collect the main output of both graphs for all items, and the difference of every output."""

    def __init__(self, task: Task) -> None:
        self._output = OUTPUT_OF[task]
        self.before: list[Items] = []
        self.after: list[Items] = []
        self._outputs: dict[str, _Difference] = {}

    def add(self, start: int, before: dict[str, Items], after: dict[str, Items]) -> None:
        """Add the outputs of one batch. start: index of its first item."""
        self.before.append(before[self._output])
        self.after.append(after[self._output])
        for name, values in before.items():
            self._outputs.setdefault(name, _Difference()).add(start, values, after[name])

    def outputs(self) -> dict[str, VariantDifference]:
        """Return the difference of each output, by name."""
        return {name: difference.report() for name, difference in self._outputs.items()}


class _Difference:
    """Accumulate how much one output differs between both graphs, over all batches."""

    def __init__(self) -> None:
        self._worst, self._item = -1.0, 0
        self._count, self._sum, self._squares, self._squared_difference = 0, 0.0, 0.0, 0.0

    def add(self, start: int, before: Items, after: Items) -> None:
        """Add one batch, arrays [n, ...] of the same shape. start: index of its first item."""
        wide = before.astype(np.float64).reshape(len(before), -1)
        difference = np.nan_to_num(np.abs(after.astype(np.float64).reshape(wide.shape) - wide), nan=_FAR, posinf=_FAR)
        by_item = difference.max(axis=1)
        if by_item.max() > self._worst:
            self._worst, self._item = float(by_item.max()), start + int(by_item.argmax())
        self._count += wide.size
        self._sum += float(wide.sum())
        self._squares += float((wide**2).sum())
        self._squared_difference += float((difference**2).sum())

    def report(self) -> VariantDifference:
        """Return the difference over all batches so far."""
        variance = self._squares / self._count - (self._sum / self._count) ** 2
        varies = variance > 1e-12 * self._squares / self._count  # more than by rounding
        share = min(_FAR, (self._squared_difference / self._count / variance) ** 0.5) if varies else None
        return VariantDifference(largest_absolute=self._worst, item=self._item, share=share)
