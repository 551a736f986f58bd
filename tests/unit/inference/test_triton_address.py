"""engines/triton_address.py.

Addresses of a Triton as they are written, and those that would have gone to another port, or to nobody.
"""

import pytest

from avizor_inference.engines.triton_address import triton_address
from avizor_inference.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("triton://localhost:8001", "localhost:8001"),
        ("triton://tri_ton-1.example.org:9", "tri_ton-1.example.org:9"),
        ("triton://localhost", "localhost:8001"),
        ("triton://10.0.0.7:18001/", "10.0.0.7:18001"),
        ("triton://[::1]:18001", "[::1]:18001"),
        ("triton://[fe80::1]", "[fe80::1]:8001"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert triton_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "localhost:8001", "http://localhost:8001", "triton:localhost:8001", "triton://", "triton:///", "triton://:8001",
        "triton://127.0.0.1:", "triton://127.0.0.1:abc/", "triton://127.0.0.1:0", "triton://127.0.0.1:65536",
        "triton://127.0.0.1:-1", "triton://::1", "triton://::1:8001", "triton://2001:db8::1", "triton://[::1",
        "triton://host:8001:8002", "triton://a b:8001", "triton://user@host:8001", "triton://host:8001/v2", "triton://host?x",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_how_to_write_it(text: str) -> None:
    with pytest.raises(SettingsError, match=r"is not a server address; write triton://HOST:PORT .* as triton://\[::1\]:8001"):
        triton_address(text)
