"""Answer GetModel: what a client may know of one model. It needs no engine."""

from __future__ import annotations

from avizor.v1 import inference_pb2 as pb
from avizor_inference.errors import InvalidInput
from avizor_service import wire
from avizor_service.calls import Call
from avizor_service.catalogue import Catalogue
from avizor_service.gateway import Gateway


async def get_model(gateway: Gateway, request: pb.GetModelRequest, call: Call) -> pb.Model:
    """Return one version of a model. Raises InvalidInput, NotAllowed, ModelNotFound."""
    if not request.name:
        raise InvalidInput("name a model", field="name")
    call.caller.require(request.name)
    model = await gateway.threads.wait_for(model_message, gateway.catalogue, request.name, request.version)
    call.model = model.name
    return model


def model_message(catalogue: Catalogue, name: str, version: int = 0) -> pb.Model:
    """Return the message on one version of a model, for 0 on the one that answers. Raises ModelNotFound, RepositoryError."""
    model = catalogue.find(name, version)
    active = catalogue.active_calibrations(model)
    return wire.model_message(model, catalogue.versions(name), catalogue.calibration_in_use(model, active), active)
