"""`avizor serve --workers 2` with TLS, certificates of clients and tokens: what one process does, all of them do together."""

from __future__ import annotations

import json
import signal
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from integration.gateway import Gateway, Stub, gateway
from support.certificates import Files, certificate_files
from support.waiting import wait_until

from avizor.v1 import inference_pb2 as pb

ROOT, OTHER_ROOT, CLIENTS = trustme.CA(), trustme.CA(), trustme.CA()
SLOW, KEPT, LEAKED, HASTY = "5a" * 16, "5b" * 16, "5c" * 16, "5d" * 16
LINES = f'"Bearer {SLOW}" "slow rate=0.001";\n"Bearer {KEPT}" "kept";\n"Bearer {HASTY}" "hasty rate=0.001";\n'
ALONE = [("grpc.use_local_subchannel_pool", 1)]  # a channel with a connection of its own, which goes to any worker
MANY = 12  # connections: that all go to one worker happens once in 2,000 times


@dataclass(frozen=True)
class Site:
    """A gateway of two workers, its files, and those of a client that it lets in."""

    running: Gateway
    files: Files
    tokens: Path
    log: Path
    client: Files

    def credentials(self, root: trustme.CA, with_certificate: bool = True) -> grpc.ChannelCredentials:
        pair = (self.client.key.read_bytes(), self.client.certificate.read_bytes()) if with_certificate else (None, None)
        return grpc.ssl_channel_credentials(root.cert_pem.bytes(), *pair)

    def grpc(self, token: str, root: trustme.CA = ROOT, with_certificate: bool = True) -> str:
        """How a call over a new connection ends."""
        with grpc.secure_channel(self.running.address, self.credentials(root, with_certificate), ALONE) as channel:
            return listed(Stub(channel), token)

    def http(self, token: str, root: trustme.CA = ROOT, with_certificate: bool = True) -> int:
        """The status of a request over a new connection; 0 if there is none."""
        context = ssl.create_default_context(cadata=root.cert_pem.bytes().decode())
        if with_certificate:
            context.load_cert_chain(self.client.certificate, self.client.key)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        url = f"{self.running.http_url}/v1/models"
        try:
            with opener.open(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def reload(self) -> None:
        self.running.process.send_signal(signal.SIGHUP)

    def calls(self) -> list[dict[str, object]]:
        """The lines of calls in the log so far."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == "call"]


@pytest.fixture(scope="module")
def site(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("workers")
    files, client = certificate_files(folder, ROOT), certificate_files(folder, CLIENTS, "client")
    tokens, log = folder / "tokens", folder / "log"
    tokens.write_text(LINES)
    options = ["--tls-certificate", files.certificate, "--tls-key", files.key, "--client-ca", client.root, "--tokens", tokens]
    with gateway(models, "--alpha", 0.05, "--workers", 2, "--log-level", "debug", *options, log=log) as running:
        yield Site(running, files, tokens, log, client)


def listed(stub: Stub, token: str) -> str:
    try:
        stub.ListModels(pb.ListModelsRequest(), metadata=[("authorization", f"Bearer {token}")], timeout=20)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_all_workers_answer_over_grpc_and_http_those_with_a_certificate_and_a_token(site: Site) -> None:
    assert {site.grpc(KEPT) for _ in range(MANY)} == {"OK"}
    assert {site.http(KEPT) for _ in range(MANY)} == {200}
    assert {site.grpc(LEAKED) for _ in range(MANY)} == {"UNAUTHENTICATED"}
    assert {site.http(LEAKED) for _ in range(MANY)} == {401}
    assert {site.grpc(KEPT, with_certificate=False) for _ in range(MANY)} == {"UNAVAILABLE"}
    assert {site.http(KEPT, with_certificate=False) for _ in range(MANY)} == {0}
    assert site.grpc(KEPT, root=OTHER_ROOT) == "UNAVAILABLE"


def test_the_line_of_a_call_names_the_worker_that_answered_it(site: Site) -> None:
    wait_until(lambda: site.grpc(KEPT) == "OK" and {line["worker"] for line in site.calls()} == {1, 2})
    assert {line["rpc"] for line in site.calls() if line.get("token") == "kept"} >= {"ListModels"}


def test_a_token_has_one_rate_over_grpc_and_http_and_all_workers(site: Site) -> None:
    ended = Counter(str(each) for _ in range(MANY) for each in (site.grpc(SLOW), site.http(SLOW)))
    assert ended["OK"] + ended["200"] == 1
    assert ended["RESOURCE_EXHAUSTED"] + ended["429"] == 2 * MANY - 1


def test_all_workers_hear_that_a_token_is_new_or_revoked_and_end_its_streams(site: Site) -> None:
    site.tokens.write_text(LINES + f'"Bearer {LEAKED}" "leaked";\n')
    site.reload()
    wait_until(lambda: {site.grpc(LEAKED) for _ in range(MANY)} == {"OK"})
    channels = [grpc.secure_channel(site.running.address, site.credentials(ROOT), ALONE) for _ in range(MANY)]
    try:
        quit, streams = threading.Event(), []
        for channel in channels:
            streams.append(Stub(channel).Monitor(started(quit), metadata=[("authorization", f"Bearer {LEAKED}")]))
            next(streams[-1])
        site.tokens.write_text(LINES)
        site.reload()
        for stream in streams:
            with pytest.raises(grpc.RpcError) as caught:
                next(stream)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert {listed(Stub(channel), LEAKED) for channel in channels} == {"UNAUTHENTICATED"}
        assert {listed(Stub(channel), KEPT) for channel in channels} == {"OK"}
        assert {site.http(LEAKED) for _ in range(MANY)} == {401}
    finally:
        quit.set()
        for channel in channels:
            channel.close()


def started(quit: threading.Event) -> Iterator[pb.MonitorRequest]:
    yield pb.MonitorRequest(start=pb.MonitorStart(detector="normal", sample_rate=8000))
    quit.wait()


def test_all_workers_take_a_new_certificate_and_calls_on_open_connections_go_on(site: Site) -> None:
    with grpc.secure_channel(site.running.address, site.credentials(ROOT), ALONE) as channel:
        assert listed(Stub(channel), KEPT) == "OK"
        site.files.key.write_bytes(b"broken")
        site.reload()
        wait_until(lambda: site.running.metrics()['avizor_reload_ok{part="certificates"}'] == 0)
        assert site.grpc(KEPT) == "OK"
        site.files.write(OTHER_ROOT)
        site.reload()
        wait_until(lambda: {site.grpc(KEPT, root=OTHER_ROOT) for _ in range(MANY)} == {"OK"})
        wait_until(lambda: {site.http(KEPT, root=OTHER_ROOT) for _ in range(MANY)} == {200})
        assert {site.grpc(KEPT, root=ROOT) for _ in range(MANY)} == {"UNAVAILABLE"}
        assert listed(Stub(channel), KEPT) == "OK"
    assert site.running.metrics()['avizor_reload_ok{part="certificates"}'] == 1
    site.files.write(ROOT)
    site.reload()
    wait_until(lambda: {site.grpc(KEPT) for _ in range(MANY)} == {"OK"})


def test_metrics_of_all_workers_have_those_of_processes_and_no_times_of_creation(site: Site) -> None:
    series = site.running.metrics()
    for worker in (1, 2):
        assert series[f'process_resident_memory_bytes{{worker="{worker}"}}'] > 1e6
        assert series[f'process_cpu_seconds_total{{worker="{worker}"}}'] > 0
    assert not [name for name in series if "_created" in name and "calibration_created" not in name]
    assert series['avizor_certificate_expiry_timestamp_seconds{file="client_ca"}'] > time.time()


def test_no_token_is_in_the_log_of_any_worker_at_any_level(site: Site) -> None:
    ended = {site.grpc(token) for token in (KEPT, LEAKED, HASTY, HASTY)}
    assert ended == {"OK", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED"}
    wait_until(lambda: {line["code"] for line in site.calls()} >= ended)
    text = site.log.read_text()
    assert not [token for token in (SLOW, KEPT, LEAKED, HASTY) if token in text]
