"""Answer ListModels and GetModel with what a client may know of the models. They need no engine."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.catalogue import Catalogue
from avizor_service.gateway import Gateway


async def list_models(gateway: Gateway) -> pb.ListModelsResponse:
    """Return the newest version of every model, in order of name."""
    return pb.ListModelsResponse(models=await gateway.threads.wait_for(_all, gateway.catalogue))


async def get_model(gateway: Gateway, request: pb.GetModelRequest, call: Call) -> pb.Model:
    """Return one version of a model. Raises InvalidInput, ModelNotFound."""
    if not request.name:
        raise InvalidInput("name a model", field="name")
    model = await gateway.threads.wait_for(_one, gateway.catalogue, request.name, request.version)
    call.model = model.name
    return model


def _all(catalogue: Catalogue) -> list[pb.Model]:
    return [_one(catalogue, name) for name in catalogue.names()]


def _one(catalogue: Catalogue, name: str, version: int = 0) -> pb.Model:
    found = catalogue.find(name, version)
    return wire.model_message(found, catalogue.versions(name), found.calibration())
