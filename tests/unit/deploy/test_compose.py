"""Each container of the stack is no root, cannot write its files, has limits, and is out of reach of others."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from support.environment import ROOT

# They give a new volume to the user of another container, and end: as root, with that right alone, without a network.
OWNERS = {"pushgateway-volume", "tensorrt-engines"}

# What other machines, or users of this one, may reach.
PUBLISHED = {"nginx", "prometheus", "alertmanager", "grafana", "review"}
# They ask for a token, over TLS, and so may be reached from elsewhere.
GUARDED = {"nginx", "review"}


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


STACK, GPU = compose("docker-compose.yml"), compose("docker-compose.gpu.yml")
SERVICES: dict[str, dict[str, Any]] = STACK["services"] | {
    name: service for name, service in GPU["services"].items() if name not in STACK["services"]
}


EACH = [pytest.param(name, service, id=name) for name, service in SERVICES.items()]


@pytest.mark.parametrize(("name", "service"), EACH)
def test_a_container_cannot_write_its_files_has_no_rights_of_root_and_is_bounded(name: str, service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["CHOWN"] if name in OWNERS else [])
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["pids_limit"] <= 4096
    assert re.fullmatch(r"(\$\{\w+:-)?\d+[mg]\}?", service["mem_limit"])
    assert not {"privileged", "pid", "ipc", "devices"} & service.keys()


@pytest.mark.parametrize(("name", "service"), EACH)
def test_a_container_does_not_run_as_root(name: str, service: dict[str, Any]) -> None:
    if "user" in service:
        user = re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(service["user"]))
    else:  # our own image: what the gateway keeps is its own, and the page's
        dockerfile = service["build"]["dockerfile"]
        assert dockerfile in ("service/Dockerfile", "review/Dockerfile")
        user = re.findall(r"^USER (\S+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)[-1]
        assert user == "10001:10001"
    assert (int(user.split(":")[0]) == 0) == (name in OWNERS)
    if name in OWNERS:
        assert service["network_mode"] == "none"
        assert service["entrypoint"][0] == "chown"


def test_only_the_front_door_and_pages_of_operators_are_published_and_the_latter_to_this_machine_alone() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == PUBLISHED
    for name in PUBLISHED - GUARDED:
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])
    for name in GUARDED:
        assert [port.startswith("${AVIZOR_BIND:-127.0.0.1}:") for port in SERVICES[name]["ports"]] == [True]


def test_what_asks_nobody_who_they_are_is_on_networks_that_lead_nowhere() -> None:
    closed = {name for name, network in STACK["networks"].items() if network and network.get("internal")}
    assert closed == {"serving", "monitoring", "jobs"}
    for name in closed:
        assert STACK["networks"][name]["driver_opts"]["com.docker.network.bridge.inhibit_ipv4"] == "true"
    for name in ("triton", "gateway", "pushgateway", "probe", "alerts", "batch"):
        assert set(SERVICES[name]["networks"]) <= closed


def test_secrets_and_configuration_are_mounted_so_that_nobody_can_write_them() -> None:
    writable = [
        (name, volume)
        for name, service in SERVICES.items()
        for volume in service.get("volumes", [])
        if not (volume.get("read_only") if isinstance(volume, dict) else volume.endswith(":ro"))
    ]
    named = STACK["volumes"].keys() | GPU["volumes"].keys()
    (results,) = [each for each in writable if str(each[1]).split(":")[0] not in named]
    assert (results[0], results[1]["target"]) == ("batch", "/results")


def test_a_batch_job_starts_when_somebody_runs_it_and_ends_by_itself() -> None:
    assert SERVICES["batch"]["profiles"] == ["batch"]
    assert SERVICES["batch"]["restart"] == "no"
    assert "depends_on" not in SERVICES["batch"]  # it would start half of a stack that is down
    assert not any("depends_on" in service and "batch" in service["depends_on"] for service in SERVICES.values())
