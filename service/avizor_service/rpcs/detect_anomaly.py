"""Answer DetectAnomaly with how unusual each item is, as a conformal p-value, and whether that flags it."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_inference.anomaly.confidence import level_problem
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import require_alpha
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.errors import CalibrationError, InvalidInput
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.gateway import Gateway
from avizor_service.inference import BadItem
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
    flagged = 0
    results = await gateway.inference.run(model, request.items, union([_OUTPUT], named), call.time_remaining_s)
    for number, (item, result) in enumerate(zip(request.items, results, strict=True)):
        if isinstance(result, BadItem):
            answer.items.append(pb.Verdict(error=item_status(result.error, number)))
            continue
        if problem := wire.channel_problem(item.channel_mode, result.item.level.channels, calibration, model.manifest.input):
            refused = InvalidInput(problem, field="channel_mode")
            gateway.inference.item_errors.count(call.model, refused)
            answer.items.append(pb.Verdict(error=item_status(refused, number)))
            continue
        scores = result.outputs[_OUTPUT][:, 0]
        judged = verdict(judge, item.source, ItemScore.of(scores), is_short=result.item.is_short)
        gateway.anomaly_metrics.count(call.model, item.source, judged)
        if reason := judged.not_judged(alpha, confidence):
            error = CalibrationError(f"the item is not judged: {reason}")
            answer.items.append(pb.Verdict(error=item_status(error, number)))
            continue
        p_values, _ = judge.window_p_values(item.source, scores, is_short=result.item.is_short)
        spans = wire.span_messages(result.item.spans, model.manifest.input)
        message = wire.verdict_message(judged, alpha, spans, scores, p_values, confidence)
        wire.add_outputs(message.outputs, result.outputs, named)
        answer.items.append(message)
        flagged += message.is_anomaly
    call.record.anomalies = flagged
    return answer


def _level(gateway: Gateway, request: pb.DetectAnomalyRequest) -> tuple[float, float | None]:
    """Return alpha and confidence of a request. Raises InvalidInput if one is not between 0 and 1."""
    alpha = request.alpha or gateway.settings.alpha
    confidence = request.confidence or gateway.settings.confidence
    if problem := level_problem(alpha, confidence):
        field, message = problem
        raise InvalidInput(message, field=field)
    return alpha, confidence
