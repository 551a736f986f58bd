"""Tie each RPC of inference.GRPCInferenceService that is served to the function that answers it."""

from __future__ import annotations

import grpc
from tritonclient.grpc import service_pb2 as pb

from avizor_service.calls import Calls
from avizor_service.gateway import Gateway
from avizor_service.open_inference.model_infer import model_infer
from avizor_service.rpc_steps import Answer, unary

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

# RPCs of one request and one response.
_UNARY: dict[str, tuple[type, Answer]] = {
    "ModelInfer": (pb.ModelInferRequest, model_infer),
}


def handlers(gateway: Gateway, calls: Calls) -> grpc.GenericRpcHandler:
    """Return what answers the RPCs with the parts of a gateway. All others of the service are UNIMPLEMENTED."""
    methods = {rpc: unary(rpc, kind, answer, gateway, calls) for rpc, (kind, answer) in _UNARY.items()}
    return grpc.method_handlers_generic_handler(SERVICE, methods)
