"""addresses.py: an IPv6 address has brackets where a port follows, and none for a socket."""

from __future__ import annotations

import socket

import pytest

from avizor_inference.addresses import bare_host, with_port


@pytest.mark.parametrize(
    ("host", "address"),
    [("::1", "[::1]:80"), ("fe80::1%eth0", "[fe80::1%eth0]:80"), ("10.0.0.1", "10.0.0.1:80"), ("localhost", "localhost:80")],
)
def test_only_an_ipv6_address_gets_brackets_before_a_port(host: str, address: str) -> None:
    assert with_port(host, 80) == address


@pytest.mark.parametrize("written", ["::1", "[::1]"])
def test_either_spelling_of_an_ipv6_address_is_one_that_sockets_take(written: str) -> None:
    assert bare_host(written) == "::1"
    ((family, *_),) = socket.getaddrinfo(bare_host(written), 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    assert family is socket.AF_INET6


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[half", "half]"])
def test_a_host_without_a_pair_of_brackets_is_left_alone(host: str) -> None:
    assert bare_host(host) == host
