"""transport.py: what calls of gRPC and HTTP have in common."""

from __future__ import annotations

import pytest

from avizor_service.transport import host_of


@pytest.mark.parametrize(
    ("peers", "host"),
    [
        (("ipv4:10.1.2.3:50", "ipv4:10.1.2.3:51", "ipv6:[::ffff:10.1.2.3]:52", "ipv6:%5B::ffff:10.1.2.3%5D:53"), "10.1.2.3"),
        (("ipv6:[2001:db8::1]:50", "ipv6:%5B2001:db8::1%5D:51"), "2001:db8::1"),
        (("unix:", "unix:/run/avizor.sock"), "unix"),
    ],
)
def test_a_host_has_one_name_over_grpc_and_http(peers: tuple[str, ...], host: str) -> None:
    assert {host_of(peer) for peer in peers} == {host}
