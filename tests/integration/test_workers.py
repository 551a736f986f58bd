"""`avizor serve --workers 2`: several processes that are one gateway: metrics, health, limits, and how it stops."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import psutil
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.far_network import far_network
from integration.gateway import AVIZOR, Gateway, Stub, gateway
from integration.http_client import ask
from integration.load import REQUEST, Load
from support.sounds import SAMPLE_RATE
from support.waiting import wait_until
from support.warm_starts import warm_run
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
CLASSIFIED = 'avizor_requests_total{code="OK",model="digits",rpc="Classify"}'


@pytest.fixture(scope="module")
def whole(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    log = tmp_path_factory.mktemp("whole") / "log"
    with gateway(models, "--alpha", 0.05, "--workers", 2, "--max-streams", 3, log=log) as running:
        # Each worker looks at all models once it serves, and what it runs for that counts. Tests come after it.
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: log.read_text().count("models: read again") == 2)
        yield running


def workers(running: Gateway) -> list[psutil.Process]:
    """The processes that serve, the oldest first."""
    children = psutil.Process(running.process.pid).children()
    return sorted((each for each in children if "avizor_service.workers.worker" in each.cmdline()), key=lambda each: each.pid)


@contextlib.contextmanager
def stubs(running: Gateway, count: int) -> Iterator[list[Stub]]:
    """Stubs with a connection each: the system spreads these over the workers."""
    with contextlib.ExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [stack.enter_context(grpc.insecure_channel(running.address, options)) for _ in range(count)]
        yield [running.stub(channel) for channel in channels]


def wait_for(running: Gateway, series: str, value: float) -> None:
    deadline = time.monotonic() + 30
    while running.metrics().get(series) != value:
        assert time.monotonic() < deadline, f"{series} is {running.metrics().get(series)}"
        time.sleep(0.02)


def test_calls_of_all_workers_are_counted_together(whole: Gateway) -> None:
    before = whole.metrics().get(CLASSIFIED, 0)
    used = [sum(each.cpu_times()[:2]) for each in workers(whole)]
    with stubs(whole, 32) as each_stub:
        for stub in each_stub * 8:
            assert stub.Classify(REQUEST).items
    after = whole.metrics()
    assert after[CLASSIFIED] - before == 32 * 8
    assert after['avizor_request_duration_seconds_count{model="digits",rpc="Classify"}'] == after[CLASSIFIED]
    assert after["avizor_workers"] == 2
    assert after['avizor_engine_up{engine="ort"}'] == 1
    served = [sum(each.cpu_times()[:2]) - cpu for each, cpu in zip(workers(whole), used, strict=True)]
    assert all(served), f"a worker has answered nothing: {served} s of CPU time"


@contextlib.contextmanager
def streams(each_stub: list[Stub]) -> Iterator[list[str]]:
    """How streams ended that were begun one after the other; "" for one that goes on, until the end."""
    quit, begun, ended = threading.Event(), [], []

    def requests() -> Iterator[pb.MonitorRequest]:
        yield pb.MonitorRequest(start=pb.MonitorStart(detector="normal", sample_rate=SAMPLE_RATE))
        quit.wait()

    for stub in each_stub:
        begun.append(stub.Monitor(requests()))  # one that nobody holds is cancelled
        try:
            next(begun[-1])
            ended.append("")
        except grpc.RpcError as error:
            ended.append(error.code().name)
    yield ended
    quit.set()


@pytest.mark.parametrize("connections", [1, 12])
def test_streams_of_all_workers_have_one_limit_that_one_worker_alone_can_use(whole: Gateway, connections: int) -> None:
    with stubs(whole, connections) as each_stub, streams(each_stub * (12 // connections)) as ended:
        assert sorted(ended) == [""] * 3 + ["RESOURCE_EXHAUSTED"] * 9
        assert whole.metrics()["avizor_streams"] == 3
    wait_for(whole, "avizor_streams", 0)


def test_a_token_has_one_rate_and_every_worker_hears_when_it_is_revoked(models: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text('"Bearer sesame" "ali rate=0.01";\n"Bearer other" "baba";\n')
    with gateway(models, "--alpha", 0.05, "--workers", 2, "--tokens", tokens) as running, stubs(running, 12) as each_stub:
        assert sorted(listed(each_stub, "sesame")) == ["OK"] + ["RESOURCE_EXHAUSTED"] * 11
        assert listed(each_stub, "other") == ["OK"] * 12
        tokens.write_text('"Bearer sesame" "ali rate=0.01";\n')
        running.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while listed(each_stub, "other") != ["UNAUTHENTICATED"] * 12:
            assert time.monotonic() < deadline, "a worker still knows the token"


def listed(each_stub: list[Stub], token: str) -> list[str]:
    """How a call over each connection ended."""

    def ended(stub: Stub) -> str:
        try:
            stub.ListModels(pb.ListModelsRequest(), metadata=[("authorization", f"Bearer {token}")])
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    return [ended(stub) for stub in each_stub]


def test_every_worker_tells_the_statistics_of_all(whole: Gateway) -> None:
    def classified() -> list[int]:
        """Requests that succeeded, as several connections tell."""
        told = []
        for _ in range(8):
            with triton.InferenceServerClient(whole.address) as client:
                told.append(client.get_inference_statistics("digits").model_stats[0].inference_stats.success.count)
        return told

    before = classified()
    assert len(set(before)) == 1
    with stubs(whole, 16) as each_stub:
        for stub in each_stub * 2:
            assert stub.Classify(REQUEST).items
    assert classified() == [before[0] + 32] * 8


def test_a_killed_worker_costs_its_own_calls_and_is_replaced(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--workers", 2) as running, watched(running, CLASSIFIED) as seen:
        load = Load(running, 16)
        while load.ended["OK"] < 300:
            time.sleep(0.01)
        with grpc.insecure_channel(running.address) as channel:
            killed = workers(running)[0]
            killed.kill()
            health = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=10).status == SERVING
        wait_for(running, 'avizor_workers_ended_total{reason="crash"}', 1)
        wait_for(running, "avizor_workers", 2)
        replaced = load.ended["OK"]
        while load.ended["OK"] < replaced + 300:
            time.sleep(0.01)
        ended = load.stop()
        running.wait_until_idle()
        counted = running.metrics()[CLASSIFIED]
        assert killed.pid not in [each.pid for each in workers(running)]
    assert ended.keys() <= {"OK", "UNAVAILABLE"}, ended
    assert ended["UNAVAILABLE"] <= 16 * 3, ended  # a call of each caller that was in it, and tries until it connects anew
    assert ended["OK"] <= counted <= ended.total()
    assert seen == sorted(seen)


@contextlib.contextmanager
def watched(running: Gateway, series: str) -> Iterator[list[float]]:
    """The values of a series, asked for again and again until the end."""
    seen, quit = list[float](), threading.Event()

    def watch() -> None:
        while not quit.wait(0.02):
            seen.append(running.metrics().get(series, 0))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        quit.set()
        thread.join()


def test_a_worker_that_is_told_to_stop_is_replaced_without_a_failed_call(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--workers", 2) as running:
        load = Load(running, 16)
        while load.ended["OK"] < 300:
            time.sleep(0.01)
        workers(running)[0].terminate()
        wait_for(running, 'avizor_workers_ended_total{reason="stopped"}', 1)
        wait_for(running, "avizor_workers", 2)
        assert load.stop().keys() == {"OK"}


def test_no_call_is_cancelled_when_all_workers_stop_under_load(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--workers", 2) as running:
        load = Load(running, 32, until="UNAVAILABLE")
        while load.ended["OK"] < 300:
            time.sleep(0.01)
        assert running.stop() == 0
        ended = load.wait()
    assert ended.keys() == {"OK", "UNAVAILABLE"}, ended
    assert ended["UNAVAILABLE"] == 32


def test_callers_of_a_worker_that_has_stopped_are_not_cancelled_by_one_that_stops_a_little_later(
    models: Path, tmp_path: Path
) -> None:
    """They connect to it when they have their answers, and their next calls are on the way when it stops, too."""
    log = tmp_path / "log"
    with (
        gateway(models, "--alpha", 0.05, "--workers", 2, log=log) as running,
        far_network(int(running.address.rpartition(":")[2]), seconds=0.06) as port,
    ):
        load = Load(replace(running, address=f"127.0.0.1:{port}"), 8, until="UNAVAILABLE")
        while load.ended["OK"] < 32:
            time.sleep(0.01)
        late = workers(running)[0]
        running.process.terminate()
        wait_until(lambda: log.read_text().count("stopping") == 3)
        late.suspend()
        time.sleep(0.15)
        late.resume()
        assert running.process.wait(timeout=30) == 0
        ended = load.wait()
    assert ended.keys() == {"OK", "UNAVAILABLE"}, ended


def test_a_worker_that_stands_still_does_not_hold_up_another_one_that_stops(models: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with gateway(models, "--alpha", 0.05, "--workers", 2, "--grace-s", 60, log=log) as running:
        load = Load(running, 16)
        while load.ended["OK"] < 300:
            time.sleep(0.01)
        still, other = workers(running)
        running.process.terminate()
        wait_until(lambda: log.read_text().count("stopping") == 3)
        still.suspend()
        try:
            other.wait(timeout=30)  # its calls were answered, and not ended after a minute
        finally:
            still.resume()
        assert running.process.wait(timeout=30) == 0
        load.stop()


def test_every_worker_says_first_that_the_whole_stops(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--workers", 2, "--stop-delay-s", 1) as running, contextlib.ExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [stack.enter_context(grpc.insecure_channel(running.address, options)) for _ in range(12)]
        watches = [health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()) for channel in channels]
        for watch in watches:
            assert next(answer.status for answer in watch if answer.status == SERVING)
        running.process.terminate()
        assert [next(watch).status for watch in watches] == [NOT_SERVING] * 12
        assert running.stub(channels[0]).Classify(REQUEST).items  # a load balancer may not have heard yet
        assert running.process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alpha", "0.001"], "needs at least 999 normal items"),
        (["--models", "/nowhere"], "is not a folder"),
        (["--host", "unix:/tmp/avizor-test.sock"], "several workers cannot share unix:/tmp/avizor-test.sock; give --workers 1"),
    ],
)
def test_workers_that_cannot_serve_say_why(models: Path, options: list[str], message: str) -> None:
    assert message in failed_start(models, *options)


def test_a_port_that_other_workers_share_is_not_joined(models: Path, whole: Gateway) -> None:
    message = f"cannot listen on {whole.address}: address already in use; stop the other process or choose another --port"
    assert message in failed_start(models, "--port", whole.address.rsplit(":", 1)[1])


def failed_start(models: Path, *options: str) -> str:
    """What a gateway of two workers says that does not start."""
    command = [
        str(AVIZOR),
        "serve",
        "--models",
        str(models),
        "--port",
        "0",
        "--metrics-port",
        "0",
        "--http-port",
        "0",
        "--alpha",
        "0.05",
        "--workers",
        "2",
    ]
    result = warm_run([*command, *options], timeout=60)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    said: str = result.stderr
    return said


def test_workers_end_with_the_process_that_started_them(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--workers", 2) as running:
        left = workers(running)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        assert psutil.wait_procs(left, timeout=20)[1] == []


def test_no_request_of_http_fails_when_all_workers_stop_under_load(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--workers", 2) as running:
        ended, refused = Counter[int](), threading.Event()

        def ask_again_and_again() -> None:
            while not refused.is_set():
                try:
                    ended[ask(running.http_url, "/v1/models").code] += 1
                except ConnectionRefusedError:
                    refused.set()

        callers = [threading.Thread(target=ask_again_and_again) for _ in range(8)]
        for caller in callers:
            caller.start()
        wait_until(lambda: ended[200] > 100)
        assert running.stop() == 0
        for caller in callers:
            caller.join()
    assert ended.keys() == {200}, ended


def test_workers_on_triton_are_one_gateway_that_serves_while_it_does(models: Path, triton_install: TritonInstall) -> None:
    with TritonServer(triton_install, models) as server:
        options = ["--alpha", 0.05, "--workers", 2, "--engine", f"triton://{server.grpc_url}"]
        with gateway(models, *options) as running, stubs(running, 12) as each_stub:
            before = running.metrics().get(CLASSIFIED, 0)
            for stub in each_stub:
                assert stub.Classify(REQUEST).items
            assert running.metrics()[CLASSIFIED] - before == 12
            assert healths(running) == {SERVING}
            server.kill()
            wait_for(running, 'avizor_engine_up{engine="triton"}', 0)
            wait_until(lambda: healths(running) == {NOT_SERVING})
            server.start()
            wait_until(lambda: healths(running) == {SERVING})  # one worker has found it
            wait_for(running, 'avizor_engine_up{engine="triton"}', 1)  # all have
            assert [bool(stub.Classify(REQUEST).items) for stub in each_stub] == [True] * 12


def healths(running: Gateway) -> set[int]:
    """What several connections are told."""
    told = set()
    for _ in range(8):
        with grpc.insecure_channel(running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            told.add(int(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status))
    return told
