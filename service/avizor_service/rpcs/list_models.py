"""Answer ListModels: what a client may know of all models. It needs no engine."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import AvizorError
from avizor_service.callers import Caller
from avizor_service.calls import Call
from avizor_service.catalogue import Catalogue
from avizor_service.gateway import Gateway
from avizor_service.rpcs.get_model import model_message


async def list_models(gateway: Gateway, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
    """Return the version that answers of every model that the caller may ask for, in order of name.

    One that cannot be read is left out.
    """
    return pb.ListModelsResponse(models=await gateway.threads.wait_for(_all, gateway.catalogue, call.caller))


def _all(catalogue: Catalogue, caller: Caller) -> list[pb.Model]:
    names = filter(caller.may_call, catalogue.names())
    return [message for name in names if (message := _readable(catalogue, name))]


def _readable(catalogue: Catalogue, name: str) -> pb.Model | None:
    try:
        return model_message(catalogue, name)
    except AvizorError:  # Catalogue.states says why, and so do log and metrics
        return None
