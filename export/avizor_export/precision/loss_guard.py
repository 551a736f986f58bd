"""A proven FP32 graph in another precision, under guard: what it lost on held-out items, and what it gained in speed."""

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
from avizor_export.precision.quality import METRIC_OF, OUTPUT_OF, chance_level, chance_warning, measure_quality, quality
from avizor_export.precision.speed import compare_speed
from avizor_export.triton_config.settings import TENSORRT, Target
from avizor_inference.arrays import Items
from avizor_inference.engines.ort_session import CPU
from avizor_inference.error_text import one_line
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Manifest, Precision, Task
from avizor_inference.repository.reports import VariantDifference, VariantReport

# Fewer held-out items cannot show a drop of 0.01.
FEWEST_HELD_OUT = 100
# An output other than the guarded one that is off by more than this share of its standard deviation is no longer the same.
# Sound networks in int8 were seen at up to 0.03, those that had lost their negative values at 0.4 and 0.5.
LARGE_SHARE = 0.2
_BATCH = 32
# Stands for a difference that is not finite; its square is.
_FAR = 1e150


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


def make_version(
    proto: onnx.ModelProto, precision: Precision, items: Items | None, guard: Guard, target: Target
) -> tuple[onnx.ModelProto, VariantReport]:
    """The graph in another precision, and what that changed. items: real raw items, for the ranges of int8.

    target: what it is to run on. Raises ExportError if there is too little to measure it on, if FP32 itself is no better than
    chance there, if it cannot be made, or if it loses more than is allowed.
    """
    check_variant_data(precision, items, guard.held_out)
    _check_there_is_skill(proto, precision, guard)
    made, settings = quantise(proto, items, target) if precision == "int8" and items is not None else to_float16(proto)
    strip_traces(made)
    check_proto(made)
    _check_loads(made, precision)
    measured = emulate_float16(proto) if precision == "fp16" else made
    report = _report(proto, made, measured, {"target": target, **settings}, guard)
    if not report.passed:
        raise ExportError(refusal_message(precision, report, report.after))
    return made, report


def _check_there_is_skill(proto: onnx.ModelProto, precision: Precision, guard: Guard) -> None:
    """A network that has none, or one whose labels say the opposite, loses nothing by its metric whatever becomes of it."""
    held_out = guard.held_out
    reached, (chance, _) = (
        measure_quality(onnxruntime_run(proto), guard.task, held_out),
        chance_level(guard.task, held_out.labels),
    )
    if reached <= chance:
        raise ExportError(
            f"what {precision} loses cannot be measured on the held-out items, on which fp32 is no better than a network "
            f"without any skill: {chance_warning(guard.task, reached, held_out.labels)}; or publish fp32"
        )


def _check_loads(made: onnx.ModelProto, precision: Precision) -> None:
    try:
        onnxruntime_run(made)
    except Exception as error:  # the runtime's own exceptions share no base class of theirs
        why = one_line(error)
        raise ExportError(f"ONNX Runtime cannot run the network in {precision} on this CPU: {why}; publish fp32") from error


def refusal_message(precision: Precision, report: VariantReport, after: float) -> str:
    """Why a variant is refused."""
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
    if speed := _on_speed(manifest.precision, variant):
        yield speed


def _on_speed(precision: Precision, variant: VariantReport) -> str | None:
    target = variant.settings.get("target")
    if (precision, target) == ("int8", "gpu"):
        return (
            "ONNX Runtime computes int8 networks in float32 on CUDA, which the target gpu means: the file is smaller and "
            "nothing is faster; export with --target tensorrt, or --fp16"
        )
    if (precision == "fp16" and target != "cpu") or target == TENSORRT:
        return f"{precision} is meant for GPUs; its speed was measured on a CPU and promises nothing"
    slow = [f"{each.ratio:.2f} times fp32 at batch {each.batch_size}" for each in variant.speed if each.ratio <= 1]
    if precision == "fp16":
        return (
            f"fp16 is meant for GPUs, and the target is cpu: {', '.join(slow) or 'no faster as a rule'}; publish fp32 or int8"
        )
    return f"{precision} is not faster on this machine: {', '.join(slow)}; small networks are not" if slow else None


def _report(
    before: onnx.ModelProto, after: onnx.ModelProto, measured: onnx.ModelProto, settings: dict[str, JsonValue], guard: Guard
) -> VariantReport:
    """Compare the graphs. measured: what computes `after`'s outputs on this CPU."""
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
        outputs=comparison.outputs(),
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
    """The main output of both graphs for all items, and how far apart each output of theirs is."""

    def __init__(self, task: Task) -> None:
        self._output = OUTPUT_OF[task]
        self.before: list[Items] = []
        self.after: list[Items] = []
        self._outputs: dict[str, _Difference] = {}

    def add(self, start: int, wanted: dict[str, Items], got: dict[str, Items]) -> None:
        """One batch, whose first item is the `start`-th."""
        self.before.append(wanted[self._output])
        self.after.append(got[self._output])
        for name, values in wanted.items():
            self._outputs.setdefault(name, _Difference()).add(start, values, got[name])

    def outputs(self) -> dict[str, VariantDifference]:
        """What there is to report of each output."""
        return {name: difference.report() for name, difference in self._outputs.items()}


class _Difference:
    """How far one output is from what it was, over all batches."""

    def __init__(self) -> None:
        self._worst, self._item = -1.0, 0
        self._count, self._sum, self._squares, self._squared_difference = 0, 0.0, 0.0, 0.0

    def add(self, start: int, wanted: Items, got: Items) -> None:
        """One batch, whose first item is the `start`-th."""
        wide = wanted.astype(np.float64).reshape(len(wanted), -1)
        difference = np.nan_to_num(np.abs(got.astype(np.float64).reshape(wide.shape) - wide), nan=_FAR, posinf=_FAR)
        by_item = difference.max(axis=1)
        if by_item.max() > self._worst:
            self._worst, self._item = float(by_item.max()), start + int(by_item.argmax())
        self._count += wide.size
        self._sum += float(wide.sum())
        self._squares += float((wide**2).sum())
        self._squared_difference += float((difference**2).sum())

    def report(self) -> VariantDifference:
        """Of all batches so far."""
        variance = self._squares / self._count - (self._sum / self._count) ** 2
        varies = variance > 1e-12 * self._squares / self._count  # more than by rounding
        share = min(_FAR, (self._squared_difference / self._count / variance) ** 0.5) if varies else None
        return VariantDifference(largest_absolute=self._worst, item=self._item, share=share)
