"""A client's tries again pass nginx: what the gateway says of a call that failed reaches gRPC's retry policy as it was said."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc import StatusCode
from integration.front_door import front_door, token_file
from integration.scripted_server import Script, scripted

from avizor_client import Client, Tls
from avizor_client.errors import Busy


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED])
def test_a_call_that_the_gateway_could_not_take_is_tried_again(code: StatusCode, tmp_path: Path) -> None:
    tokens = token_file(tmp_path, someone="")
    script = Script(failures=[code] * 2, retry_ms=10)
    with (
        scripted(script) as behind,
        front_door(tmp_path, gateway_50051=behind) as door,
        Client(door.address, tls=Tls(ca=tmp_path / "ca.pem"), token=tokens["someone"]) as client,
    ):
        assert client.models() == ()
    assert len(script.calls) == 3


def test_one_that_never_succeeds_says_when_to_come_back(tmp_path: Path) -> None:
    tokens = token_file(tmp_path, someone="")
    script = Script(failures=[StatusCode.RESOURCE_EXHAUSTED] * 9, retry_ms=10)
    with scripted(script) as behind, front_door(tmp_path, gateway_50051=behind) as door:
        client = Client(door.address, tls=Tls(ca=tmp_path / "ca.pem"), token=tokens["someone"])
        with client, pytest.raises(Busy) as caught:
            client.models()
    assert (len(script.calls), caught.value.retry_after_s) == (5, 0.01)
