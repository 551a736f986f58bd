"""Describe the server and its models in the messages of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version as version_of
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from avizor_inference.engines.run_statistics import no_statistics
from avizor_inference.errors import AvizorError, EngineUnavailable, InvalidInput, ModelNotFound
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.triton_config import DATATYPES
from avizor_service.calls import Call
from avizor_service.catalogue import Catalogue
from avizor_service.gateway import Gateway
from avizor_service.open_inference.infer import opened, version_number

# Extensions of the protocol that the gateway has, in Triton's words.
EXTENSIONS = ("classification", "model_configuration", "binary_tensor_data", "parameters", "statistics")

# What the platform of a model is called whose config.pbtxt names its backend alone.
_PLATFORMS = {"onnxruntime": "onnxruntime_onnx"}


def server_metadata() -> Any:
    """Return a ServerMetadataResponse."""
    return pb.ServerMetadataResponse(name="avizor", version=version_of("avizor"), extensions=EXTENSIONS)


async def model_ready(gateway: Gateway, call: Call, name: str, version: str) -> bool:
    """Return whether a version of a model answers now.

    Raises InvalidInput for what is no version, NotAllowed, and EngineUnavailable while none answers.
    """
    call.caller.require(name)
    try:
        number = version_number(name, version)
        gateway.engine_watch.require_up()
        if gateway.catalogue.opened(name, number) is None:
            await gateway.threads.wait_for(gateway.catalogue.open, name, number)
    except (InvalidInput, EngineUnavailable):
        raise
    except AvizorError:
        return False
    return True


async def model_metadata(gateway: Gateway, call: Call, name: str, version: str) -> Any:
    """Return a ModelMetadataResponse. Raises what Gateway.opened raises."""
    model = await opened(gateway, call, name, version)
    config, versions = model.version.config, await gateway.threads.wait_for(gateway.catalogue.versions, name)
    return pb.ModelMetadataResponse(
        name=name,
        versions=map(str, versions),
        platform=config.platform or _PLATFORMS.get(config.backend, config.backend),
        inputs=_tensors(model.spec.inputs),
        outputs=_tensors(model.spec.outputs),
    )


async def model_config(gateway: Gateway, call: Call, name: str, version: str) -> Any:
    """Return a ModelConfigResponse: config.pbtxt, as the embedded engine follows it. Raises what Gateway.opened raises."""
    model = await opened(gateway, call, name, version)
    return pb.ModelConfigResponse(config=model.version.config)


async def model_statistics(gateway: Gateway, call: Call, name: str, version: str) -> Any:
    """Return a ModelStatisticsResponse: what the engine ran, whatever RPC asked for it.

    name: empty for all models that the caller may call. Versions that were never asked for have zeros. Raises InvalidInput for
    a model or version that is not there, as Triton does, NotAllowed, EngineUnavailable.
    """
    number = 0
    if name:
        call.caller.require(name)
        try:
            number = version_number(name, version)
            await gateway.threads.wait_for(gateway.catalogue.find, name, number)
        except ModelNotFound as error:
            raise InvalidInput(str(error), field="name") from error
        call.model = name
    gateway.engine_watch.require_up()
    found = await gateway.threads.wait_for(gateway.inference.statistics, name, number or None)
    found += await gateway.threads.wait_for(_unused, gateway.catalogue, name, number, {each.name for each in found})
    return pb.ModelStatisticsResponse(
        model_stats=sorted((each for each in found if call.caller.may_call(each.name)), key=lambda each: each.name)
    )


async def repository_index(gateway: Gateway, call: Call, *, ready_only: bool = False) -> Any:
    """Return a RepositoryIndexResponse: of models that the caller may call, what answers, and what does not and why."""
    entry = pb.RepositoryIndexResponse.ModelIndex
    return pb.RepositoryIndexResponse(
        models=[
            entry(name=each.name, version=str(each.version or ""), state=each.state, reason=each.reason)
            for each in gateway.catalogue.states()
            if call.caller.may_call(each.name) and (each.state == "READY" or not ready_only)
        ]
    )


def _unused(catalogue: Catalogue, name: str, number: int, used: Iterable[str]) -> list[Any]:
    """Return empty statistics of what was not asked for yet: a version that is named, or the newest of each model."""
    unused = []
    for each in [name] if name else catalogue.names():
        if each not in used:
            try:
                unused.append(no_statistics(each, catalogue.find(each, number).version))
            except AvizorError:
                continue  # it has no version, or is gone
    return unused


def _tensors(specs: Mapping[str, TensorSpec]) -> list[Any]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=DATATYPES[spec.dtype], shape=(-1, *spec.item_shape))
        for spec in specs.values()
    ]
