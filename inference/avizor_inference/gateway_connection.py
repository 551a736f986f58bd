"""Call a gateway from a command of this package: address, token, TLS. Needs the extra `client` for google.rpc."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc

from avizor_inference.addresses import is_grpc_address
from avizor_inference.caller_files import read_pem, read_token
from avizor_inference.errors import SettingsError
from avizor_inference.no_connection import is_no_connection, why_no_answer

# A gateway that is full says when to try again, and gRPC's own retries wait for so long.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "avizor.v1.InferenceService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.5s",
                "maxBackoff": "10s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
            },
        }
    ]
}
_CHANNEL = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # each connection is one of its own: it may reach another worker
    ("grpc.service_config", json.dumps(_RETRIES)),
]


@dataclass(frozen=True)
class Caller:
    """Says who calls, and by what the gateway is checked. Raises SettingsError for a certificate without its key.

    token_file: holds the token of the caller, alone or in the form of `avizor serve --tokens`; None without one. ca_file: the
    certificates by which the gateway's is checked, in PEM. certificate, key: of the caller, in PEM, for mutual TLS. Without
    ca_file and certificate there is no TLS.
    """

    token_file: Path | None = None
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("--certificate and --key go together; give both, or neither")

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return those of TLS, read anew; None without TLS. Raises SettingsError for files that cannot be read."""
        if not (self.ca_file or self.certificate):
            return None
        return tls_credentials(self.ca_file, self.certificate, self.key)


def tls_credentials(ca_file: Path | None, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials:
    """Return credentials of TLS from files in PEM, read anew. None: the roots of the system, and no certificate of the caller.

    Raises SettingsError for files that cannot be read.
    """
    roots, private_key, chain = (read_pem(file) if file else None for file in (ca_file, key, certificate))
    return grpc.ssl_channel_credentials(roots, private_key, chain)


_NOBODY = Caller()


@dataclass(frozen=True)
class GatewayAddress:
    """Says where a gateway is, and who calls it. timeout_s: of each call. Raises SettingsError for an address that is none."""

    address: str
    caller: Caller = _NOBODY
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        if not is_grpc_address(self.address):
            raise SettingsError(
                f"--gateway: {self.address!r} is no address; give HOST:PORT, with a port up to 65535, or unix:PATH"
            )


def check_installed() -> None:
    """Raise SettingsError unless the messages of a gateway can be imported."""
    try:
        import avizor.v1.inference_pb2  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingsError(f"--gateway needs {error.name}, which is not installed; pip install 'avizor[client]'") from error


class GatewayConnection:
    """Connects to one gateway. Close it, or use it as a context manager. Raises SettingsError for files that cannot be read."""

    def __init__(self, gateway: GatewayAddress) -> None:
        self._gateway, self.address = gateway, gateway.address
        file = gateway.caller.token_file
        self._metadata = (("authorization", f"Bearer {read_token(file)}"),) if file else ()
        if credentials := gateway.caller.credentials:
            self._channel = grpc.secure_channel(gateway.address, credentials, _CHANNEL)
        else:
            self._channel = grpc.insecure_channel(gateway.address, _CHANNEL)
        check_installed()
        from avizor.v1.inference_pb2_grpc import InferenceServiceStub

        self.stub = InferenceServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._channel.close()

    def call(self, rpc: Any, request: Any) -> Any:
        """Return the answer to a request. rpc: of `stub`. Raises SettingsError, with the code of the gateway."""
        try:
            return rpc(request, timeout=self._gateway.timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            address, said = self.address, str(error.details())
            if is_no_connection(said):
                raise SettingsError(f"no connection to the gateway {address}: {why_no_answer(said)}") from error
            raise SettingsError(f"the gateway {address} answers {error.code().name}: {why_no_answer(said)}") from error
