"""Check the address of a live Triton, and that it answers, before hours of computation depend on it."""

from __future__ import annotations

from tritonclient.utils import InferenceServerException

from avizor_inference.engines.triton import triton_client
from avizor_inference.engines.triton_address import triton_address
from avizor_inference.errors import ExportError, SettingsError

_TIMEOUT_S = 10.0


def parse_address(text: str) -> str:
    """Return host:port of `triton://HOST[:PORT]`; the port is 8001, Triton's for gRPC, unless another is given.

    Raises ExportError if the text is not such an address.
    """
    try:
        return triton_address(text)
    except SettingsError as error:
        raise ExportError(str(error)) from error


def check_server(address: str) -> None:
    """Raise ExportError unless a Triton answers by gRPC at host:port `address`. Its models need not be ready."""
    with triton_client(address) as client:
        try:
            is_alive = client.is_server_live(client_timeout=_TIMEOUT_S)
        except InferenceServerException as error:
            raise ExportError(
                f"no Triton answers at {address}: {error.message()}; start it, and check that gRPC reaches it at that port"
            ) from error
    if not is_alive:
        raise ExportError(f"Triton at {address} says that it is not alive; see its log")
