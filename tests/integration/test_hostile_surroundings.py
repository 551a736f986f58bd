"""A gateway serves where its machine is full, badly set up or badly treated, and what it reads is not what it should be."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import psutil
import pytest
import trustme
from integration.gateway import AVIZOR, IMAGE, Gateway, Stub, gateway, refused
from integration.open_inference_cases import infer_request
from support.certificates import certificate_files
from tritonclient.grpc import service_pb2, service_pb2_grpc

from avizor.v1 import inference_pb2 as pb

SERVE = ("serve", "--port", "0", "--metrics-port", "0", "--http-port", "0", "--alpha", "0.05")


@contextlib.contextmanager
def served_by_shell(
    script: str, models: Path, *options: object, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `script` in a shell, where $AVIZOR is the command of a gateway. pass_fds: open files that the shell has."""
    command = shlex.join([str(part) for part in (AVIZOR, *SERVE, "--models", models, *options)])
    process = subprocess.Popen(
        ["bash", "-c", script.replace("$AVIZOR", f"exec {command}")], stdout=subprocess.PIPE, pass_fds=pass_fds
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def classified(address: str) -> str:
    """Return the error of a picture that is classified; "" for none."""
    with grpc.insecure_channel(address) as channel:
        answer = Stub(channel).Classify(pb.ClassifyRequest(model="digits", items=[IMAGE]), timeout=20)
        return str(answer.items[0].error.message)


@pytest.mark.parametrize("workers", [1, 2])
def test_as_many_files_may_be_open_as_connections_need(models: Path, workers: int) -> None:
    with served_by_shell("ulimit -Sn 256; $AVIZOR", models, "--workers", workers) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"serving gRPC on ")
        those = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        soft = {resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in those}
        assert soft == {2 * 1000 + 512}
        process.terminate()
        assert process.wait(20) == 0


def test_a_limit_of_open_files_that_is_too_low_is_said(models: Path, tmp_path: Path) -> None:
    with served_by_shell(f"ulimit -n 300; $AVIZOR 2>{tmp_path}/log", models, "--max-connections", 100) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert classified(line.split()[3].strip(",")) == ""
        process.terminate()
        assert process.wait(20) == 0
    assert "only 300 files may be open at once, and 712 are needed with --max-connections 100" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_without_standard_input_and_error_serves(models: Path, workers: int) -> None:
    with served_by_shell("$AVIZOR 2>&- <&-", models, "--workers", workers) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("serving gRPC on ")
        assert classified(line.split()[3].strip(",")) == ""
        process.terminate()
        assert process.wait(20) == 0


def test_a_gateway_whose_output_is_a_full_disk_serves(models: Path, tmp_path: Path) -> None:
    with served_by_shell("$AVIZOR >/dev/full 2>/dev/full", models, "--host", f"unix:{tmp_path}/gateway") as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "gateway").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with grpc.insecure_channel(f"unix:{tmp_path}/gateway") as channel:
            grpc.channel_ready_future(channel).result(20)
        assert classified(f"unix:{tmp_path}/gateway") == ""
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_whose_log_nobody_reads_serves_and_ends(models: Path, workers: int) -> None:
    """A pipe holds 64 KiB, which is some 300 calls."""
    never_read, log = os.pipe()
    with served_by_shell(f"$AVIZOR 2>&{log}", models, "--workers", workers, pass_fds=[log]) as process:
        os.close(log)
        assert process.stdout is not None
        address = process.stdout.readline().decode().split()[3].strip(",")
        with grpc.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for _ in range(500):
                stub.ModelInfer(infer_request(), timeout=20)
        process.terminate()
        assert process.wait(40) == 0
    os.close(never_read)


def test_handshakes_that_fail_write_nothing_that_a_gateway_would_wait_for(models: Path, tmp_path: Path) -> None:
    """A pipe that nobody reads holds 64 KiB, which is some 300 lines."""
    files, never_read = certificate_files(tmp_path, trustme.CA()), os.pipe()
    options = ("--tls-certificate", files.certificate, "--tls-key", files.key)
    with served_by_shell(f"$AVIZOR 2>&{never_read[1]}", models, *options, pass_fds=never_read) as process:
        assert process.stdout is not None
        port = process.stdout.readline().decode().split()[3].strip(",").rpartition(":")[2]
        for _ in range(600):
            with socket.create_connection(("127.0.0.1", int(port)), 10) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                with contextlib.suppress(OSError):
                    stranger.recv(1)
        with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(files.root.read_bytes())) as channel:
            assert service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(infer_request(), timeout=20).model_name
    for each in never_read:
        os.close(each)


def test_decoders_have_no_more_memory_than_the_gateway_may_use(models: Path) -> None:
    with served_by_shell("ulimit -v 4000000; $AVIZOR", models, "--decoder-memory-mib", 16000) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("serving gRPC on ")
        assert classified(line.split()[3].strip(",")) == ""


@pytest.fixture(scope="module")
def running(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(models, folder / "models")
    with gateway(folder / "models", "--alpha", 0.05, "--scan-s", 0.2, log=folder / "log") as started:
        yield started, folder / "models"


def test_clients_that_say_nothing_do_not_keep_prometheus_out(running: tuple[Gateway, Path]) -> None:
    started, _ = running
    at = urllib.parse.urlsplit(started.metrics_url)
    before = len(os.listdir(f"/proc/{started.process.pid}/fd"))
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(socket.create_connection((str(at.hostname), int(at.port or 0)), 10))
        assert started.metrics()
        assert len(os.listdir(f"/proc/{started.process.pid}/fd")) < before + 60


def test_names_that_clients_choose_fit_into_the_headers_of_a_refusal(running: tuple[Gateway, Path]) -> None:
    with grpc.insecure_channel(running[0].address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for field in ("inputs", "outputs"):
            request = infer_request()
            if field == "inputs":
                request.inputs[0].name = "é" * 20_000
            else:
                request.outputs.add(name="é" * 20_000)
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request)
            assert refused(caught.value)[0] == "INVALID_ARGUMENT"


def test_a_folder_whose_name_is_not_utf_8_costs_the_others_nothing(running: tuple[Gateway, Path]) -> None:
    started, models = running
    stray = models / os.fsdecode(b"bad\xff")
    shutil.copytree(models / "digits", stray)
    try:
        with grpc.insecure_channel(started.address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            deadline = time.monotonic() + 20
            while len(found := stub.RepositoryIndex(service_pb2.RepositoryIndexRequest()).models) < 5:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert (found[0].name, found[0].state) == ("bad\\udcff", "UNAVAILABLE")
            assert "not UTF-8" in found[0].reason
            assert len(stub.ModelStatistics(service_pb2.ModelStatisticsRequest()).model_stats) == 4
            assert len(started.stub(channel).ListModels(pb.ListModelsRequest()).models) == 4
        assert started.metrics()['avizor_version_refused{model="bad\\\\udcff",version="0"}'] == 1
    finally:
        shutil.rmtree(stray)


def test_a_pipe_in_place_of_a_manifest_holds_up_neither_scans_nor_the_end(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    manifest = tmp_path / "models" / "kinds" / "1" / "manifest.json"
    with gateway(tmp_path / "models", "--alpha", 0.05, "--scan-s", 0.2) as started:
        manifest.unlink()
        os.mkfifo(manifest)
        started.process.send_signal(signal.SIGHUP)
        with grpc.insecure_channel(started.address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            deadline = time.monotonic() + 20
            reasons = ""
            while "a pipe" not in reasons:
                assert time.monotonic() < deadline
                reasons = " ".join(each.reason for each in stub.RepositoryIndex(service_pb2.RepositoryIndexRequest()).models)
        assert classified(started.address) == ""
        assert started.stop() == 0
