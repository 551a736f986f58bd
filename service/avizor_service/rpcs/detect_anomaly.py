"""Answer DetectAnomaly with how unusual each item is, as a conformal p-value, and whether that flags it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avizor.v1 import inference_pb2 as pb
from avizor_inference.anomaly.confidence import level_problem
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge, require_alpha
from avizor_inference.anomaly.verdict import Verdict, verdict
from avizor_inference.arrays import Array
from avizor_inference.errors import CalibrationError, InvalidInput
from avizor_inference.repository.calibration import Calibration
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.catalogue import OpenVersion
from avizor_service.gateway import Gateway
from avizor_service.inference import BadItem, ItemResult
from avizor_service.keeping.of_item import flagged_item
from avizor_service.newest import by_newest
from avizor_service.outputs import requested_outputs, union
from avizor_service.status import item_status

_OUTPUT = "score"


@by_newest
async def detect_anomaly(gateway: Gateway, request: pb.DetectAnomalyRequest, call: Call) -> pb.DetectAnomalyResponse:
    """Return a verdict on each item, and count it, and the outputs that the request names.

    An item that cannot be served or judged has an error instead.
    """
    model = await gateway.open_model(call, request, "reconstruct")
    alpha, confidence = _level(gateway, request)
    named = requested_outputs(model.spec.outputs, request.outputs)
    judging = model.judging_in_use()
    if judging is None:  # the first call runs the probe items
        judging = await gateway.threads.wait_for(model.judging)
    calibration, judge = judging
    require_alpha(calibration, alpha, confidence)
    gateway.anomaly_metrics.judged_by(call.model, calibration)
    answer = pb.DetectAnomalyResponse(
        model=call.model,
        version=model.version.version,
        alpha=alpha,
        confidence=confidence or 0,
        calibration_id=calibration.id,
    )
    jury = _Jury(gateway, model, calibration, judge, alpha, confidence, named)
    results = await gateway.inference.run(model, request.items, union([_OUTPUT], named), call.time_remaining_s)
    for number, (item, result) in enumerate(zip(request.items, results, strict=True)):
        answer.items.append(jury.verdict(item, result, number))
    call.record.anomalies = sum(item.is_anomaly for item in answer.items)
    return answer


@dataclass(frozen=True)
class _Jury:
    """Judges the items of one call. named: outputs of the model that the answer has, too."""

    gateway: Gateway
    model: OpenVersion
    calibration: Calibration
    judge: Judge
    alpha: float
    confidence: float | None
    named: Sequence[str]

    def verdict(self, item: pb.Item, result: ItemResult | BadItem, number: int) -> pb.Verdict:
        """Return the message on one item, and count its verdict. number: its place in the request."""
        if isinstance(result, BadItem):
            return pb.Verdict(error=item_status(result.error, number))
        name, spec, is_short = self.model.version.name, self.model.manifest.input, result.item.is_short
        if problem := wire.channel_problem(item.channel_mode, result.item.level.channels, self.calibration, spec):
            refused = InvalidInput(problem, field="channel_mode")
            self.gateway.inference.item_errors.count(name, refused)
            return pb.Verdict(error=item_status(refused, number))
        scores = result.outputs[_OUTPUT][:, 0]
        judged = verdict(self.judge, item.source, ItemScore.of(scores), is_short=is_short)
        self.gateway.anomaly_metrics.count(name, item.source, judged, self.calibration.id)
        self._keep(item, result, judged, scores)
        if reason := judged.not_judged(self.alpha, self.confidence):
            return pb.Verdict(error=item_status(CalibrationError(f"the item is not judged: {reason}"), number))
        p_values, _ = self.judge.window_p_values(item.source, scores, is_short=is_short)
        spans = wire.span_messages(result.item.spans, spec)
        message = wire.verdict_message(judged, self.alpha, spans, scores, p_values, self.confidence)
        wire.add_outputs(message.outputs, result.outputs, self.named)
        return message

    def _keep(self, item: pb.Item, result: ItemResult, judged: Verdict, scores: Array) -> None:
        """Let the item be kept if the metrics count it as flagged, whatever alpha the caller asks for."""
        settings, keeper = self.gateway.settings, self.gateway.keeper
        if not keeper or not judged.is_anomaly(settings.alpha, settings.confidence):
            return
        if keeper.takes(item.ByteSize()):  # it is copied only then
            keeper.offer(
                flagged_item(item, result.item, judged, scores, self.model.version, self.calibration.id, self.judge, settings)
            )


def _level(gateway: Gateway, request: pb.DetectAnomalyRequest) -> tuple[float, float | None]:
    """Return alpha and confidence of a request. Raises InvalidInput if one is not between 0 and 1."""
    alpha = request.alpha or gateway.settings.alpha
    confidence = request.confidence or gateway.settings.confidence
    if problem := level_problem(alpha, confidence):
        field, message = problem
        raise InvalidInput(message, field=field)
    return alpha, confidence
