"""Run a few items through the graph to be published, for `probe.npz`: other engines are compared with these outputs."""

from __future__ import annotations

import numpy as np
import onnx

from avizor_export.parity.compare import onnxruntime_run
from avizor_export.parity.probe_items import random_items
from avizor_export.request import ExportRequest
from avizor_inference.items.data.item_files import evenly_spaced
from avizor_inference.repository.probe import MOST_ITEMS, PROBE_BYTES, Probe


def probe_of(proto: onnx.ModelProto, request: ExportRequest) -> Probe | None:
    """Return up to 16 real items, else random ones, and the graph's outputs for them on ONNX Runtime's CPU provider.

    Fewer if they are large (16 MiB in all, but at least one). Items for which an output is not finite prove nothing and are
    left out; None if no item is left. Raises ExportError if the graph fails.
    """
    real = request.real_items
    items = random_items(request.input, MOST_ITEMS, real=real)
    if real is not None and len(real):
        items = np.ascontiguousarray(real[evenly_spaced(len(real), MOST_ITEMS)])
    run = onnxruntime_run(proto)
    first = run(items[:1])
    item_bytes = items[:1].nbytes + sum(values.nbytes for values in first.values())
    items = items[: max(1, PROBE_BYTES // item_bytes)]
    outputs = run(items) if len(items) > 1 else first
    finite = np.all([np.isfinite(values).reshape(len(items), -1).all(axis=1) for values in outputs.values()], axis=0)
    if not finite.any():
        return None
    return Probe(items[finite], {name: values[finite] for name, values in outputs.items()})
