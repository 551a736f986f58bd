"""gRPC's own retries see what a real gateway says of a call that failed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from integration.front_door import front_door, token_file
from integration.gateway import IMAGE, Gateway, gateway, normal
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor_client import Client, Tls
from avizor_client.errors import Unavailable

ITEMS = {"digits": IMAGE.image, "kinds": normal()}


def tries(running: Gateway, client: Client, model: str) -> float:
    """How often the gateway was asked in a call of a client that fails."""
    failed = f'avizor_requests_total{{code="UNAVAILABLE",model="{model}",rpc="Classify"}}'
    before = running.metrics().get(failed, 0)
    with pytest.raises(Unavailable):
        client.classify(model, [ITEMS[model]])
    return running.metrics()[failed] - before


def test_a_call_is_tried_again_while_the_engine_is_away(models: Path, triton_install: TritonInstall, tmp_path: Path) -> None:
    token = token_file(tmp_path, someone="")["someone"]
    with (
        TritonServer(triton_install, models) as triton,
        gateway(models, "--engine", f"triton://{triton.grpc_url}", "--alpha", 0.05, "--tokens", tmp_path / "tokens") as running,
        front_door(tmp_path, gateway_50051=running.address) as door,
        Client(running.address, token=token) as straight,
        Client(door.address, tls=Tls(ca=tmp_path / "ca.pem"), token=token) as through,
    ):
        for client, (model, item) in zip((straight, through), ITEMS.items(), strict=True):
            client.model(model)  # asked once, and not tried again below
            client.classify(model, [item])
        triton.kill()
        with ThreadPoolExecutor() as pool:  # the pauses between tries are of seconds
            assert list(pool.map(tries, [running] * 2, (straight, through), ITEMS)) == [5, 5]
