"""Answer ModelInfer: run one request through a model."""

from __future__ import annotations

from typing import Any

from avizor_service.calls import Call
from avizor_service.gateway import Gateway
from avizor_service.open_inference.grpc_messages import answer_bytes, tensor_request
from avizor_service.open_inference.infer import infer


async def model_infer(gateway: Gateway, request: Any, call: Call) -> bytes:
    """Return a serialised ModelInferResponse. Raises what `tensor_request` and `infer` raise."""
    answer = await infer(gateway, tensor_request(request), call)
    return answer_bytes(answer, request.id)
