"""A server can be started, stopped and killed, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from integration.jobs import eventually
from integration.triton_server.calls import Call, infer, rows
from integration.triton_server.processes import group, shared_memory
from triton_server import server as server_module
from triton_server.install import TritonInstall
from triton_server.server import TritonServer, TritonStartError


def test_stopping_leaves_nothing_behind(triton_install: TritonInstall, classifier_only: Path) -> None:
    with TritonServer(triton_install, classifier_only) as server:
        pid = server.pid
        assert len(group(pid)) == 2, "the server, and one process for the one model"
        assert shared_memory(server)
        assert "Started GRPCInferenceService" in server.log_text()
        server.stop()
    assert eventually(lambda: not group(pid))
    assert not shared_memory(server)
    assert "successfully unloaded 'classifier'" in server.log_text(), "the log outlives the server"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(server.grpc_url.rpartition(":")[2]))) != 0


def test_a_killed_server_is_unavailable_and_comes_back_where_it_was(triton_install: TritonInstall, repository: Path) -> None:
    with TritonServer(triton_install, repository, load_models=("classifier", "slow")) as server:
        pid, url = server.pid, server.grpc_url
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(infer, server, Call("slow", {"x": rows(1, 1)}))
            time.sleep(0.2)
            server.kill()
            error = under_way.exception()
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert eventually(lambda: not group(pid)), "its backend processes end with it"
        with pytest.raises(grpc.RpcError) as caught:
            infer(server, Call("classifier", {"x": rows(1)}))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        server.start()
        assert server.grpc_url == url
        infer(server, Call("classifier", {"x": rows(1)}))


def test_a_server_that_ends_by_itself_is_cleaned_up(triton_install: TritonInstall, classifier_only: Path) -> None:
    with TritonServer(triton_install, classifier_only) as server:
        pid = server.pid
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not group(pid))
    assert not shared_memory(server)


@pytest.mark.slow
def test_several_servers_at_once(triton_install: TritonInstall, classifier_only: Path, server: TritonServer) -> None:
    with TritonServer(triton_install, classifier_only) as first, TritonServer(triton_install, classifier_only) as second:
        assert len({one.grpc_url for one in (server, first, second)}) == 3
        assert not shared_memory(first) & shared_memory(second)
        for one in (server, first, second):
            infer(one, Call("classifier", {"x": rows(3)}))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["grpc", "http", "metrics"])
def test_a_port_that_is_taken_in_between_is_given_up(
    triton_install: TritonInstall, classifier_only: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free = server_module._free_ports
        offers = iter([free()._replace(**{which: taken.getsockname()[1]})])
        monkeypatch.setattr(server_module, "_free_ports", lambda: next(offers, None) or free())
        with TritonServer(triton_install, classifier_only) as server:
            infer(server, Call("classifier", {"x": rows(1)}))
        assert next(offers, None) is None


def test_not_ready_in_time_is_an_error_with_the_log(triton_install: TritonInstall, classifier_only: Path) -> None:
    with pytest.raises(TritonStartError, match=r"(?s)not ready after 0 s; the last lines of its log"):
        TritonServer(triton_install, classifier_only, ready_timeout_s=0.0).__enter__()
