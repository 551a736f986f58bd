"""Answer Explain, which is declared so that clients know its name, and cannot be done yet."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import NotAvailable
from avizor_service.calls import Call
from avizor_service.gateway import Gateway


async def explain(gateway: Gateway, request: pb.ExplainRequest, call: Call) -> pb.ExplainResponse:
    """Raise NotAvailable."""
    raise NotAvailable("Explain is not available yet; a classifier's `activations` can be had with Classify")
