"""Refuse a front end whose numbers make it give NaN or infinity."""

from __future__ import annotations

import numpy as np
import torch

from avizor_export.front_ends.build import build_front_end
from avizor_export.parity.probe_items import items_by_kind
from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import InputSpec


def refuse_front_end(spec: InputSpec, real: Items | None) -> None:
    """Raise ExportError if the front end gives NaN or infinity for an item of any kind."""
    if spec.front_end_parameters is None:
        return
    module = build_front_end(spec)
    for kind, items in items_by_kind(spec, real).items():
        if spec.passes_missing and np.isnan(items).any():  # NaN is meant to reach the network
            continue
        with torch.inference_mode():
            finite = torch.isfinite(module(torch.from_numpy(items))).all()
        if not finite:
            raise ExportError(
                f"the front end gives NaN or infinity on {kind}; its floor, mean or std is too small or too large for float32"
            )
