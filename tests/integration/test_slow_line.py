"""The line of a client is slow: what it sends still comes in time, and what cannot is told with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from integration.far_network import far_network
from integration.gateway import gateway, png

from avizor_client import Client
from avizor_client.errors import DeadlineExceeded, InvalidArgument, TooLarge

NOISE = np.random.default_rng(0).integers(0, 256, (1000, 1000)).astype(np.uint8)
PICTURE = png(NOISE)  # 1 MB


@contextmanager
def slow_gateway(models: Path, receive_timeout_s: float, bytes_per_s: float) -> Iterator[str]:
    """Yield the address of a gateway to which a line brings so many bytes a second."""
    with gateway(models, "--alpha", 0.05, "--receive-timeout-s", receive_timeout_s) as running:
        port = int(running.address.rpartition(":")[2])
        with far_network(port, seconds=0, bytes_per_s=bytes_per_s) as slow:
            yield f"127.0.0.1:{slow}"


def test_many_items_are_sent_in_requests_that_a_slow_line_brings_in_time(models: Path) -> None:
    # A request takes 0.25 s, all pictures 3 s.
    with slow_gateway(models, 2, 8 << 20) as address, Client(address) as client:
        assert len(client.classify("digits", [PICTURE] * 24).items) == 24


def test_a_request_that_the_gateway_gave_up_names_the_line_and_the_option(models: Path) -> None:
    said = r"--receive-timeout-s\); .* less at once if the line is slow"
    with (
        slow_gateway(models, 1, 100_000) as address,
        Client(address) as client,
        pytest.raises(InvalidArgument, match=said),
    ):
        client.classify("digits", [PICTURE])


def test_a_request_that_the_client_gave_up_names_its_size_and_the_setting(models: Path) -> None:
    with slow_gateway(models, 60, 100_000) as address, Client(address, timeout_s=3) as client:
        said = r"no answer in time; allow more \(timeout_s\) or send less .* had 1\.0 MiB, .* slow line, and see whether"
        with pytest.raises(DeadlineExceeded, match=said):
            client.classify("digits", [PICTURE])


def test_a_message_that_is_larger_than_a_gateway_takes_is_sent_once(models: Path) -> None:
    """gRPC itself refuses it, in words that could mean "try again". To send it five times is to send 350 MiB."""
    with gateway(models, "--alpha", 0.05) as running, Client(running.address) as client:
        with pytest.raises(TooLarge, match=r"--max-message-mib"):
            client.classify("digits", [bytes(70 << 20)])
        counts = running.metrics().items()
        assert sum([value for name, value in counts if "avizor_requests_total" in name and "Classify" in name]) == 1
