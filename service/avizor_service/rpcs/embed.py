"""Answer Embed with the embedding of each window of each item."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.gateway import Gateway
from avizor_service.inference import BadItem
from avizor_service.newest import by_newest
from avizor_service.status import item_status

_OUTPUT = "embedding"


@by_newest
async def embed(gateway: Gateway, request: pb.EmbedRequest, call: Call) -> pb.EmbedResponse:
    """Return the embedding of each item, of a model for any task. An item that cannot be served has an error instead."""
    model = await gateway.open_model(call, request, None)
    if _OUTPUT not in model.spec.outputs:
        has = ", ".join(model.spec.outputs)
        raise InvalidInput(
            f"model {call.model!r} has no output embedding (it has {has}); export it with --embedding LAYER", field="model"
        )
    answer = pb.EmbedResponse(model=call.model, version=model.version.version)
    results = await gateway.inference.run(model, request.items, [_OUTPUT], call.time_remaining_s)
    for number, result in enumerate(results):
        if isinstance(result, BadItem):
            answer.items.append(pb.Embedding(error=item_status(result.error, number)))
        else:
            spans = wire.span_messages(result.item.spans, model.manifest.input)
            answer.items.append(pb.Embedding(embedding=wire.tensor_message(result.outputs[_OUTPUT]), spans=spans))
    return answer
