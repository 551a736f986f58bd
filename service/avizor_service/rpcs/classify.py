"""Answer Classify with the classes of each item, and of each of its windows."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.gateway import Gateway
from avizor_service.inference import BadItem
from avizor_service.status import item_status

_OUTPUT = "probabilities"


async def classify(gateway: Gateway, request: pb.ClassifyRequest, call: Call) -> pb.ClassifyResponse:
    """Return the classes of each item, as many as `top_k` says. An item that cannot be served has an error instead."""
    if request.top_k < 0:
        raise InvalidInput(
            f"top_k {request.top_k} is below 0; 0 returns one class, or of a multi-label model those over their thresholds",
            field="top_k",
        )
    model = await gateway.open_model(call, request, "classify")
    labels = model.manifest.labels or ()
    answer = pb.ClassifyResponse(model=model.version.name, version=model.version.version)
    results = await gateway.inference.run(model, request.items, [_OUTPUT], call.time_remaining_s)
    for number, result in enumerate(results):
        if isinstance(result, BadItem):
            answer.items.append(pb.Classification(error=item_status(result.error, number)))
        else:
            spans = wire.span_messages(result.item.spans, model.manifest.input)
            probabilities = result.outputs[_OUTPUT]
            answer.items.append(
                wire.classification_message(probabilities, spans, labels, request.top_k, model.manifest.thresholds)
            )
    return answer
