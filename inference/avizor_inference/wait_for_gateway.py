"""Wait until a running gateway serves a version of a model, and say why if it does not."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from avizor_inference.errors import EngineError, SettingsError
from avizor_inference.gateway_connection import GatewayAddress, GatewayConnection

if TYPE_CHECKING:
    from avizor.v1 import inference_pb2 as pb

# Connections in a row that have to find the version served: each reaches one worker of `avizor serve --workers`.
_ALIKE = 8
_PAUSE_S = 0.25
_CALL_S = 10.0


def wait_until_served(gateway: GatewayAddress, name: str, version: int) -> None:
    """Return when a gateway answers with a version where a call names none.

    gateway: its timeout_s is the longest wait. Raises EngineError after that, with what the gateway says of the version, and
    SettingsError for files that cannot be read.
    """
    with GatewayConnection(gateway):  # what would fail each time does so at once
        from avizor.v1 import inference_pb2 as pb
    deadline = time.monotonic() + gateway.timeout_s
    asked = replace(gateway, timeout_s=min(_CALL_S, gateway.timeout_s))
    alike, said = 0, ""
    while alike < _ALIKE:
        with GatewayConnection(asked) as connection:  # a new one
            try:
                served = connection.call(connection.stub.GetModel, pb.GetModelRequest(name=name)).version
                said = "" if served == version else f"it serves version {served}"
                said += _why_not(connection, name, version) if said else ""
            except SettingsError as error:
                said = str(error)
        alike = 0 if said else alike + 1
        if said and time.monotonic() > deadline:
            raise EngineError(
                f"{name!r} version {version} was put back: the gateway {gateway.address} did not serve it within "
                f"{gateway.timeout_s:g} s; {said}"
            )
        if said:
            time.sleep(_PAUSE_S)


def _why_not(connection: GatewayConnection, name: str, version: int) -> str:
    from avizor.v1 import inference_pb2 as pb

    refused = connection.call(connection.stub.ListModels, pb.ListModelsRequest()).refused
    return "".join(f"; it refuses version {version}: {each.reason}" for each in refused if _is(each, name, version))


def _is(refused: pb.Refused, name: str, version: int) -> bool:
    return refused.name == name and refused.version in (0, version)
