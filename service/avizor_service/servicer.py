"""Tie each RPC of avizor.v1.InferenceService to the function that answers it."""

from __future__ import annotations

from contextlib import aclosing

import grpc
from google.protobuf.message import Message

from avizor.v1 import inference_pb2 as pb
from avizor_service.call_record import REQUEST_ID
from avizor_service.calls import Calls
from avizor_service.gateway import Gateway
from avizor_service.logs.call_log import CallLog
from avizor_service.metrics import Metrics
from avizor_service.refusals import refusal
from avizor_service.rpc_steps import Answer, each_parsed, messages_of, unary
from avizor_service.rpcs.classify import classify
from avizor_service.rpcs.detect_anomaly import detect_anomaly
from avizor_service.rpcs.embed import embed
from avizor_service.rpcs.explain import explain
from avizor_service.rpcs.get_model import get_model
from avizor_service.rpcs.list_models import list_models
from avizor_service.rpcs.monitor import monitor
from avizor_service.rpcs.reconstruct import reconstruct
from avizor_service.streams import Streams
from avizor_service.transport import GrpcTransport

SERVICE = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name

# RPCs of one request and one response.
UNARY: dict[str, tuple[type[Message], Answer]] = {
    "ListModels": (pb.ListModelsRequest, list_models),
    "GetModel": (pb.GetModelRequest, get_model),
    "Classify": (pb.ClassifyRequest, classify),
    "DetectAnomaly": (pb.DetectAnomalyRequest, detect_anomaly),
    "Embed": (pb.EmbedRequest, embed),
    "Reconstruct": (pb.ReconstructRequest, reconstruct),
    "Explain": (pb.ExplainRequest, explain),
}


def handlers(gateway: Gateway, calls: Calls, streams: Streams) -> grpc.GenericRpcHandler:
    """Return what answers the RPCs with the parts of a gateway."""
    methods = {rpc: unary(rpc, kind, answer, gateway, calls) for rpc, (kind, answer) in UNARY.items()}
    methods["Monitor"] = _monitor(gateway, calls, streams)
    return grpc.method_handlers_generic_handler(SERVICE, methods)


class NoMethod(grpc.GenericRpcHandler):
    """Refuses the calls that no handler before it knows. gRPC does so too, but then nobody notices those that are given up."""

    def __init__(self, metrics: Metrics, log: CallLog | None = None) -> None:
        self._log, self._refused = log, metrics.rejected.labels("unknown")

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return what refuses a call."""
        self._refused.inc()
        message = "there is no such RPC here; ask reflection for those there are"
        return refusal(details, grpc.StatusCode.UNIMPLEMENTED, message, self._log)


def _monitor(gateway: Gateway, calls: Calls, streams: Streams) -> grpc.RpcMethodHandler:
    async def serve(_requests: object, context: grpc.aio.ServicerContext) -> None:
        async with calls.call("Monitor", GrpcTransport(context), streams) as call:
            call.admit()
            await context.send_initial_metadata(((REQUEST_ID, call.record.request_id),))  # trailers come after months
            async with (
                aclosing(streams.until_stopped(messages_of(context))) as messages,
                aclosing(monitor(gateway, each_parsed(pb.MonitorRequest, messages, call), call)) as responses,
            ):
                async for response in responses:
                    streams.require_running()
                    await calls.unread.write(context, response.SerializeToString())

    return grpc.stream_stream_rpc_method_handler(serve)
