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
    """Return the version that answers of every model that the caller may ask for, in order of name, and what is refused."""
    return await gateway.threads.wait_for(_all, gateway.catalogue, call.caller)


def _all(catalogue: Catalogue, caller: Caller) -> pb.ListModelsResponse:
    response = pb.ListModelsResponse()
    refused = {
        (state.name, state.version): pb.Refused(
            name=state.name,
            version=state.version,
            reason=state.reason,
            is_served=state.is_ready or (not state.version and catalogue.opened(state.name) is not None),
        )
        for state in catalogue.states()
        if state.reason and caller.may_call(state.name)
    }
    for name in filter(caller.may_call, catalogue.names()):
        try:
            response.models.append(model_message(catalogue, name))
        except AvizorError as error:
            if not any(other == name for other, _ in refused):  # it has changed since the last look
                refused[name, 0] = pb.Refused(name=name, reason=str(error))
    response.refused.extend(refused[key] for key in sorted(refused))
    return response
