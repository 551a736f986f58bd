"""Answer ListModels: what a client may know of all models. It needs no engine."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_service.calls import Call
from avizor_service.catalogue import Catalogue
from avizor_service.gateway import Gateway
from avizor_service.rpcs.get_model import model_message


async def list_models(gateway: Gateway, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
    """Return the newest version of every model, in order of name."""
    return pb.ListModelsResponse(models=await gateway.threads.wait_for(_all, gateway.catalogue))


def _all(catalogue: Catalogue) -> list[pb.Model]:
    return [model_message(catalogue, name) for name in catalogue.names()]
