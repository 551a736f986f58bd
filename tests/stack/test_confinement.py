"""Nobody on this machine gets behind the front door without a token, and containers can do little to the machine."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from typing import Any

import pytest
from stack.compose import Stack

pytestmark = pytest.mark.stack

# All ports of the servers in the stack, and the webhook's.
PORTS = (8000, 8001, 8002, 8080, 8081, 8443, 9090, 9091, 9093, 9115, 9464, 50051)
ENDED = {"pushgateway-volume"}
RUNNING = {"triton", "gateway", "nginx", "prometheus", "alertmanager", "pushgateway", "probe", "alerts"}


def reached(container: dict[str, Any]) -> set[int]:
    """Ports that answer a user of this machine at one of the container's addresses."""
    found = set()
    for network in container["NetworkSettings"]["Networks"].values():
        address = network["IPAddress"]
        for port in PORTS if address and leads_to(network["NetworkID"], address) else ():
            with contextlib.suppress(OSError), socket.create_connection((address, port), 0.5):
                found.add(port)
    return found


def leads_to(network: str, address: str) -> bool:
    """Whether this machine sends packets for an address to the bridge of the network. Else, who answers is somebody else."""
    route = subprocess.run(["ip", "-o", "route", "get", address], capture_output=True, text=True, check=False).stdout
    return f" dev br-{network[:12]} " in route


def test_a_user_of_this_machine_reaches_the_front_door_and_two_pages_alone(running: Stack) -> None:
    containers = running.containers()
    assert {name: ports for name, each in containers.items() if (ports := reached(each))} == {
        "nginx": {8443},
        "prometheus": {9090},
        "alertmanager": {9093},
    }
    published = {name: each["NetworkSettings"]["Ports"] for name, each in containers.items()}
    bound = {
        (name, port, where["HostIp"])
        for name, ports in published.items()
        for port, places in ports.items()
        for where in places or ()
    }
    assert bound == {
        ("nginx", "8443/tcp", "127.0.0.1"),
        ("prometheus", "9090/tcp", "127.0.0.1"),
        ("alertmanager", "9093/tcp", "127.0.0.1"),
    }


def test_the_same_ports_answer_inside_the_stack(running: Stack) -> None:
    """Otherwise the test above would prove nothing."""
    code = "import socket, sys\nfor server in sys.argv[1:]: socket.create_connection(server.split(':'), 5)"
    servers = ("triton:8000", "triton:8001", "triton:8002", "gateway:50051", "gateway:9464", "gateway:8080")
    running.compose("exec", "-T", "gateway", "python", "-c", code, *servers)
    running.compose("exec", "-T", "probe", "python", "-c", code, "pushgateway:9091", "alertmanager:9093", "alerts:8080")


def test_each_container_has_a_user_a_root_that_it_cannot_write_and_limits(running: Stack) -> None:
    containers = running.containers()
    assert set(containers) == RUNNING | ENDED
    for name, container in containers.items():
        host, user = container["HostConfig"], container["Config"]["User"]
        assert host["ReadonlyRootfs"], name
        assert host["Memory"] > 0, name
        assert 0 < host["PidsLimit"] <= 4096, name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert not host["Privileged"], name
        if name in ENDED:  # it changes an owner, reaches nobody, and has ended
            assert (host["CapAdd"], host["NetworkMode"], container["State"]["ExitCode"]) == (["CHOWN"], "none", 0)
            continue
        assert not host["CapAdd"], name
        assert (user or _user_of_the_image(running, name)).split(":")[0] not in ("", "0", "root"), name
        assert container["State"]["Health"]["Status"] == "healthy", name
        writable = {mount["Destination"] for mount in container["Mounts"] if mount["RW"]}
        assert writable <= {"/prometheus", "/alertmanager", "/pushed", "/flagged"}, name


def test_each_container_has_the_secrets_that_it_needs(running: Stack) -> None:
    mounted = {
        name: {mount["Destination"].removeprefix("/run/secrets/") for mount in each["Mounts"] if "secrets" in mount["Source"]}
        for name, each in running.containers().items()
    }
    assert {name: folders for name, folders in mounted.items() if folders} == {
        "nginx": {"certificate", "key", "clients"},
        "gateway": {"clients"},
        "probe": {"certificate", "probe"},
    }


def test_the_gateways_image_has_no_torch_no_engine_for_gpus_and_no_other_package(running: Stack) -> None:
    """It runs models in Triton. ONNX Runtime for CPUs computes the class maps of Explain."""
    code = """
import importlib.util, onnxruntime
packages = "torch", "openvino", "avizor_service", "avizor_export", "avizor_pipeline", "avizor_client"
print(*[name for name in packages if importlib.util.find_spec(name)])
print("CUDAExecutionProvider" in onnxruntime.get_available_providers())
"""
    found = running.compose("exec", "-T", "gateway", "python", "-c", code).split()
    assert found == ["avizor_service", "False"]


def test_networks_are_shared_by_those_who_talk_alone(running: Stack) -> None:
    prefix = f"{running.project}_"
    networks = {
        name: {network.removeprefix(prefix) for network in each["NetworkSettings"]["Networks"]}
        for name, each in running.containers().items()
    }
    assert {name for name, joined in networks.items() if "serving" in joined} == {"triton", "gateway", "nginx", "prometheus"}
    assert {name for name, joined in networks.items() if "front" in joined} == {"nginx"}
    assert {name for name, joined in networks.items() if "pages" in joined} == {"prometheus", "alertmanager"}
    assert {name for name, joined in networks.items() if "jobs" in joined} == {"triton", "pushgateway"}
    assert networks["gateway"] == {"serving"}


def _user_of_the_image(running: Stack, service: str) -> str:
    return running.compose("exec", "-T", service, "id", "-u").strip()
