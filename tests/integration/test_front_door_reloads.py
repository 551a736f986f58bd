"""nginx reads its files again: a request that is on its way over a kept connection is answered, however far its caller is."""

from __future__ import annotations

import contextlib
import http.client
import signal
import ssl
from pathlib import Path

import pytest
from integration.far_network import far_network
from integration.front_door import front_door, keeps_connections_that_were_used, token_file
from integration.gateway import IMAGE, gateway


def test_a_request_over_http_that_is_on_its_way_is_answered_when_nginx_reads_its_files_again(
    models: Path, tmp_path: Path
) -> None:
    """Old workers close connections on which nothing is asked, and HTTP/1.1 has no word to say so before."""
    token = token_file(tmp_path, someone="")["someone"]
    with (
        gateway(models, "--alpha", 0.05, "--tokens", tmp_path / "tokens") as running,
        front_door(tmp_path, gateway_8080=running.http_url.removeprefix("http://")) as door,
        far_network(door.port, seconds=0.1) as port,
    ):
        if not keeps_connections_that_were_used():
            pytest.skip("nginx has keepalive_min_timeout since 1.27.4; the image of the stack is newer")
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        headers = {"authorization": f"Bearer {token}", "content-type": "image/png"}
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
        closed = 0
        with contextlib.closing(connection):
            for _ in range(6):
                for reads_again in (True, False):
                    connection.request("POST", "/v1/models/digits:classify", IMAGE.image, headers)
                    answer = connection.getresponse()
                    assert (answer.status, bool(answer.read())) == (200, True)
                    closed += answer.will_close
                    if reads_again:
                        door.process.send_signal(signal.SIGHUP)
        assert closed  # with an answer, which the caller sees: it goes on with a new worker
