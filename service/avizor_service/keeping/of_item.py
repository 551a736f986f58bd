"""Make what is kept of an item of a call. The item is copied at once; it becomes a file in the thread that writes it."""

from __future__ import annotations

import time
from functools import partial

from avizor.v1 import inference_pb2 as pb
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.arrays import Array
from avizor_inference.items.decode import Item
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import FileForm
from avizor_inference.repository.models import ModelVersion
from avizor_service import wire
from avizor_service.keeping.flagged import Flagged
from avizor_service.settings import Settings

# Memory of a window's place and score, in bytes, about.
_WINDOW_BYTES = 200


def flagged_item(
    item: pb.Item,
    decoded: Item,
    judged: Verdict,
    scores: Array,
    model: ModelVersion,
    calibration_id: str,
    judge: Judge,
    settings: Settings,
) -> Flagged:
    """Return an item that is flagged at the gateway's alpha. scores: float32[windows]."""
    message = item.SerializeToString()  # a part of a message would hold all of the call
    return Flagged(
        model=model,
        calibration_id=calibration_id,
        judge=judge,
        source=item.source,
        time_ns=time.time_ns(),
        file=partial(_file_of, message, model.manifest.input),
        size=len(message) + _WINDOW_BYTES * len(scores),
        spans=decoded.spans,
        scores=scores.copy(),  # it may be a part of what a whole batch has
        verdict=judged,
        alpha=settings.alpha,
        confidence=settings.confidence,
        is_mixed=item.channel_mode == pb.CHANNEL_MODE_MIX,
        level=decoded.level,
    )


def _file_of(message: bytes, spec: InputSpec) -> FileForm:
    return wire.content(pb.Item.FromString(message)).file_form(spec)
