"""Answer Classify with the most probable classes of each item, and of each of its windows."""

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
    """Return the `top_k` classes of each item. An item that cannot be served has an error instead."""
    if request.top_k < 0:
        raise InvalidInput(f"top_k {request.top_k} is below 0; 0 gives one class", field="top_k")
    model = await gateway.open_model(call, request, "classify")
    labels = model.manifest.labels or ()
    k = min(request.top_k or 1, len(labels))
    answer = pb.ClassifyResponse(model=model.version.name, version=model.version.version)
    results = await gateway.inference.run(model, request.items, [_OUTPUT], call.time_remaining_s)
    for number, result in enumerate(results):
        if isinstance(result, BadItem):
            answer.items.append(pb.Classification(error=item_status(result.error, number)))
        else:
            spans = wire.span_messages(result.item.spans, model.manifest.input)
            answer.items.append(wire.classification_message(result.outputs[_OUTPUT], spans, labels, k))
    return answer
