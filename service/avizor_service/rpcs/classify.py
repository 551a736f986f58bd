"""Answer Classify with the classes of each item, and of each of its windows."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.catalogue import OpenVersion
from avizor_service.gateway import Gateway
from avizor_service.inference import BadItem
from avizor_service.newest import by_newest
from avizor_service.outputs import WINDOW_BYTES, requested_outputs, union
from avizor_service.status import item_status

_OUTPUT = "probabilities"

# Of one class in an answer, besides its label: the probability, whether it is over its threshold, and what frames them.
_CLASS_BYTES = 16


@by_newest
async def classify(gateway: Gateway, request: pb.ClassifyRequest, call: Call) -> pb.ClassifyResponse:
    """Return the classes of each item that `top_k` and `threshold` select, and the outputs that the request names.

    An item that cannot be served has an error instead.
    """
    if request.top_k < 0:
        raise InvalidInput(
            f"top_k {request.top_k} is below 0; 0 returns one class, or of a multi-label model those over their thresholds",
            field="top_k",
        )
    if not 0 <= request.threshold <= 1:
        raise InvalidInput(f"threshold {request.threshold:g} is not a probability, 0 to 1", field="threshold")
    model = await gateway.open_model(call, request, "classify")
    named = requested_outputs(model.spec.outputs, request.outputs)
    labels = model.manifest.labels or ()
    answer = pb.ClassifyResponse(model=model.version.name, version=model.version.version)
    size = WINDOW_BYTES + _bytes_of_classes(model, request.top_k)
    results = await gateway.inference.run(model, request.items, union([_OUTPUT], named), call.time_remaining_s, size)
    for number, result in enumerate(results):
        if isinstance(result, BadItem):
            answer.items.append(pb.Classification(error=item_status(result.error, number)))
        else:
            spans = wire.span_messages(result.item.spans, model.manifest.input)
            probabilities = result.outputs[_OUTPUT]
            message = wire.classification_message(
                probabilities, spans, labels, request.top_k, model.manifest.thresholds, request.threshold
            )
            wire.add_outputs(message.outputs, result.outputs, named)
            answer.items.append(message)
    return answer


def _bytes_of_classes(model: OpenVersion, k: int) -> int:
    """Return how many bytes the classes of one window may have in the answer."""
    labels = len(model.manifest.labels or ())
    most = labels if k == 0 and model.manifest.is_multi_label else min(k or 1, labels)
    return most * (_CLASS_BYTES + model.longest_label_bytes)
