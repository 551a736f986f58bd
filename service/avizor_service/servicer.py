"""Tie each RPC of avizor.v1.InferenceService to the function that answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc
from avizor_service.calls import Calls
from avizor_service.gateway import Gateway
from avizor_service.rpcs.classify import classify
from avizor_service.rpcs.detect_anomaly import detect_anomaly
from avizor_service.rpcs.get_model import get_model
from avizor_service.rpcs.list_models import list_models
from avizor_service.rpcs.monitor import monitor
from avizor_service.streams import Streams


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    """Answers calls with the parts of a gateway."""

    def __init__(self, gateway: Gateway, calls: Calls, streams: Streams) -> None:
        self._gateway, self._calls, self._streams = gateway, calls, streams

    async def ListModels(  # noqa: N802 - gRPC's name
        self, request: pb.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListModelsResponse:
        """Return the models of the repository, in order of name."""
        async with self._calls.call("ListModels", context):
            return await list_models(self._gateway)

    async def GetModel(self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext) -> pb.Model:  # noqa: N802
        """Return one model, with all that its manifest says to a client."""
        async with self._calls.call("GetModel", context) as call:
            return await get_model(self._gateway, request, call)

    async def Classify(  # noqa: N802
        self, request: pb.ClassifyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ClassifyResponse:
        """Return the most probable classes of each item."""
        async with self._calls.call("Classify", context) as call:
            return await classify(self._gateway, request, call)

    async def DetectAnomaly(  # noqa: N802
        self, request: pb.DetectAnomalyRequest, context: grpc.aio.ServicerContext
    ) -> pb.DetectAnomalyResponse:
        """Return how unusual each item is, as a conformal p-value, and whether that flags it."""
        async with self._calls.call("DetectAnomaly", context) as call:
            return await detect_anomaly(self._gateway, request, call)

    async def Monitor(  # noqa: N802
        self, requests: AsyncIterator[pb.MonitorRequest], context: grpc.aio.ServicerContext
    ) -> None:
        """Listen to one source, and tell what each window of its sound is, and when there is an alarm."""
        async with (
            self._calls.call("Monitor", context, self._streams.admitted()) as call,
            aclosing(self._streams.until_stopped(requests)) as messages,
            aclosing(monitor(self._gateway, messages, call)) as responses,
        ):
            async for response in responses:
                self._streams.require_running()
                await context.write(response)  # waits while the client does not read
