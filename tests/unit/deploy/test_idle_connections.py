"""nginx ends idle connections to the gateway before the gateway does, or a call would be sent on one that just ends."""

from __future__ import annotations

import re

import pytest
from support.environment import ROOT

from avizor_service.settings import Settings

NGINX = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
SECONDS = {"s": 1, "m": 60, "h": 3600}


@pytest.mark.parametrize("upstream", ["gateway", "gateway_http"])
def test_nginx_ends_an_idle_connection_to_the_gateway_first(upstream: str) -> None:
    found = re.search(rf"upstream {upstream} {{(.*?)}}", NGINX, re.DOTALL)
    assert found
    times = re.findall(r"keepalive_timeout (\d+)([smh]);", found[1])
    (idle_s,) = [int(number) * SECONDS[unit] for number, unit in times] or [60]  # nginx's own default
    # The gateway's own default holds in the stack: neither the option nor its variable is set.
    for path in ("docker-compose.yml", "docker-compose.gpu.yml", "service/Dockerfile"):
        assert not re.search("connection.idle.s", (ROOT / path).read_text(), re.IGNORECASE)
    # Far more than a call is under way, and than the gateway takes to look at what is idle.
    assert idle_s + 60 <= Settings(models=ROOT).connection_idle_s
