"""`avizor models load` and `rollback`: what is chosen is proven, lasts, and takes over without a failed call."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import trustme
from click.testing import CliRunner, Result
from google.protobuf.json_format import MessageToDict
from integration.disks import mount
from integration.gateway import Gateway, Stub, gateway
from integration.test_change import REQUEST, Callers
from support.certificates import certificate_files
from support.versioned_model import write_version
from triton_server.install import TritonInstall
from triton_server.server import TritonServer
from tritonclient.grpc import InferenceServerClient

from avizor.v1 import inference_pb2 as pb
from avizor_inference.cli import models as command
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.errors import RepositoryError
from avizor_inference.load_version import load_on_triton, served_version
from avizor_inference.repository.models import ModelRepository

# Runs a command that is told to stop in its AT-th flush to the disk.
STOPPED = """
import os, signal, avizor_cli.main
signal.signal(signal.SIGTERM, signal.SIG_DFL)
flush, flushed = os.fsync, []
def stopped(descriptor):
    flush(descriptor)
    flushed.append(descriptor)
    if len(flushed) == AT:
        os.kill(os.getpid(), signal.SIGTERM)
os.fsync = stopped
avizor_cli.main.main()
"""

# Runs a command that is killed when it has put a file in its place.
KILLED = """
import os, signal, avizor_cli.main
replace = os.replace
def killed(source, target):
    replace(source, target)
    if os.fspath(target) == AT:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = killed
avizor_cli.main.main()
"""


# Runs a command, and replaces a model.onnx by another one that computes the same when the choice of its version is in place.
REPLACED = """
import os, onnx, avizor_cli.main
replace = os.replace
def replaced(source, target):
    replace(source, target)
    if os.fspath(target) == AT:
        model = onnx.load(MODEL)
        model.doc_string += "of somebody else"
        onnx.save(model, MODEL)
os.replace = replaced
avizor_cli.main.main()
"""


def until(what: str, holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.1)


def run(own: Path, *words: str) -> Result:
    return CliRunner().invoke(command, [*words, "--models", str(own)])


@contextlib.contextmanager
def on_triton(install: TritonInstall, own: Path, scan_s: float) -> Iterator[tuple[str, Gateway]]:
    """A Triton and a gateway on it: the engine as commands name it, and the gateway."""
    with TritonServer(install, own) as server:
        engine = f"triton://{server.grpc_url}"
        with gateway(own, "--engine", engine, "--scan-s", scan_s) as running:
            yield engine, running


def test_a_rollback_under_load_and_the_way_forward_again(tmp_path: Path) -> None:
    write_version(tmp_path, "v", 1)
    write_version(tmp_path, "v", 2)
    with gateway(tmp_path, "--scan-s", 0.2) as running:
        callers = Callers(running)
        callers.until(2)
        result = run(tmp_path, "rollback", "v")
        assert result.exit_code == 0, result.output
        callers.until(1)
        assert ModelRepository(tmp_path).served("v").version == 1, "a restart serves the same"
        assert run(tmp_path, "load", "v").exit_code == 0
        assert ModelRepository(tmp_path).served("v").version == 2
        assert set(callers.stop()) == {1, 2}
    assert run(tmp_path, "rollback", "v").exit_code == 0
    assert "no version before 1" in str(run(tmp_path, "rollback", "v").exception)


def test_on_triton_a_version_that_computes_something_else_never_answers_and_a_rollback_lasts(
    tmp_path: Path, triton_install: TritonInstall
) -> None:
    own = tmp_path / "models"
    write_version(own, "v", 1)
    with on_triton(triton_install, own, scan_s=0.5) as (engine, running):
        callers = Callers(running)
        callers.until(1)
        write_version(own, "v", 2)
        result = run(own, "load", "v", "--engine", engine)
        assert result.exit_code == 0, result.exception
        callers.until(2)
        write_version(own, "v", 3, probe_of=9)
        refused = run(own, "load", "v", "--engine", engine)
        assert "is not computed as at export" in str(refused.exception)
        assert ModelRepository(own).served("v").version == 2, "a restart serves what is served"
        before = callers.ended[1]
        assert run(own, "rollback", "v", "--engine", engine).exit_code == 0
        assert ModelRepository(own).served("v").version == 1
        while callers.ended[1] == before:
            pass
        assert set(callers.stop()) == {1, 2}


def test_a_gateway_tells_that_a_killed_command_left_another_choice_than_triton_has_loaded(
    tmp_path: Path, triton_install: TritonInstall
) -> None:
    own, log = tmp_path / "models", tmp_path / "log"
    write_version(own, "v", 1)
    with TritonServer(triton_install, own) as server:
        engine = f"triton://{server.grpc_url}"
        write_version(own, "v", 2)
        assert run(own, "load", "v", "--engine", engine).exit_code == 0
        killed = KILLED.replace("AT", repr(str(own / "v" / "config.pbtxt")))
        command = [sys.executable, "-c", killed, "models", "rollback", "v", "--models", str(own), "--engine", engine]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert ModelRepository(own).served("v").version == 1
        with gateway(own, "--engine", engine, "--scan-s", 0.2, log=log) as running:
            refused = 'avizor_version_refused{model="v",version="1"}'
            until("it is told", lambda: running.metrics().get(refused) == 1)
            callers = Callers(running)
            callers.until(2)
            callers.stop()
            assert "config.pbtxt chooses version 1, and Triton has loaded 2" in log.read_text()
            remedy = f"avizor models load v --version 1 --engine {engine}"
            assert remedy in log.read_text()
            assert run(own, *remedy.split()[2:]).exit_code == 0
            until("it is not told any more", lambda: refused not in running.metrics())
            newest = [sys.executable, "-c", killed, "models", "load", "v", "--models", str(own), "--engine", engine]
            assert subprocess.run(newest, check=False).returncode == -signal.SIGKILL
            assert ModelRepository(own).served("v").version == 2
            told = f"version 2 is published, and Triton has loaded 1; `avizor models load v --engine {engine}` serves it"
            until("the newest is told, too", lambda: told in log.read_text())
            assert not any(name.startswith("avizor_version_refused") for name in running.metrics())


def test_a_model_that_is_replaced_between_its_proof_and_the_load_is_not_left_on_triton(
    tmp_path: Path, triton_install: TritonInstall
) -> None:
    own = tmp_path / "models"
    write_version(own, "v", 1)
    with TritonServer(triton_install, own) as server:
        engine = f"triton://{server.grpc_url}"
        model, config = write_version(own, "v", 2) / "model.onnx", own / "v" / "config.pbtxt"
        code = REPLACED.replace("AT", repr(str(config))).replace("MODEL", repr(str(model)))
        command = [sys.executable, "-c", code, "models", "load", "v", "--models", str(own), "--engine", engine]
        failed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert failed.returncode == 1, failed.stdout
        assert "model.onnx" in failed.stderr
        assert "sha256" in failed.stderr
        with TritonEngine(server.grpc_url) as triton:
            assert triton.loaded("v") == [1]
        assert ModelRepository(own).served("v").version == 1


def test_a_bad_model_on_triton_does_not_stop_the_others(tmp_path: Path, triton_install: TritonInstall) -> None:
    """With the options of the compose file. The reason is what is wrong with the files, and not that Triton lacks the model."""
    own = tmp_path / "models"
    write_version(own, "v", 1)
    (write_version(own, "bad", 1) / "model.onnx").write_bytes(b"junk")
    (write_version(own, "torn", 1) / "manifest.json").write_text("[]")
    (own / "lost+found").mkdir()
    with (
        TritonServer(triton_install, own, extra_args=["--exit-on-error=false", "--strict-readiness=false"]) as server,
        gateway(own, "--engine", f"triton://{server.grpc_url}", "--scan-s", 0.2) as running,
    ):
        callers = Callers(running)
        callers.until(1)
        assert set(callers.stop()) == {1}
        assert running.metrics()['avizor_model_up{model="bad"}'] == 0
        reasons = refused(running)
        assert set(reasons) == {"bad", "lost+found", "torn"}
        assert "model.onnx" in reasons["bad"]
        assert "holds no version of a model" in reasons["lost+found"]
        assert "is not a manifest" in reasons["torn"]


def test_a_new_model_that_nobody_has_loaded_on_triton_is_told_with_the_command_that_does(
    tmp_path: Path, triton_install: TritonInstall
) -> None:
    own = tmp_path / "models"
    write_version(own, "v", 1)
    with on_triton(triton_install, own, scan_s=0.2) as (engine, running):
        callers = Callers(running)
        callers.until(1)
        write_version(own, "w", 1)
        until("it is told", lambda: "w" in refused(running))
        command = f"avizor models load w --engine {engine}"
        assert refused(running)["w"] == f"no model named 'w' is loaded by Triton; load it with `{command}`"
        assert run(own, *command.split()[2:]).exit_code == 0
        until("it is served", lambda: running.metrics()['avizor_model_up{model="w"}'] == 1)
        assert refused(running) == {}
        assert set(callers.stop()) == {1}


def refused(running: Gateway) -> dict[str, str]:
    """Return what a gateway does not serve, and why, by name."""
    with grpc.insecure_channel(running.address) as channel:
        return {each.name: each.reason for each in Stub(channel).ListModels(pb.ListModelsRequest()).refused}


def test_the_command_ends_when_each_worker_of_a_gateway_serves_the_version_and_no_call_fails(tmp_path: Path) -> None:
    write_version(tmp_path, "v", 1)
    with gateway(tmp_path, "--scan-s", 0.5, "--workers", 2) as running:
        callers = Callers(running)
        callers.until(1)
        for version, words in ((2, ("load", "v")), (1, ("rollback", "v")), (2, ("load", "v", "--version", "2"))):
            if version == 2 and not (tmp_path / "v" / "2").exists():
                write_version(tmp_path, "v", 2)
            result = run(tmp_path, *words, "--gateway", running.address)
            assert result.exit_code == 0, result.exception
            assert result.output == f"v: version {version} is served by the gateway {running.address}\n"
            for _ in range(16):  # connections of their own
                with grpc.insecure_channel(running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                    described = Stub(channel).GetModel(pb.GetModelRequest(name="v")).version
                    assert (described, Stub(channel).Embed(REQUEST).version) == (version, version)
        assert set(callers.stop()) == {1, 2}


def test_what_a_gateway_refuses_or_does_not_look_at_is_put_back_with_its_reason(models: Path, tmp_path: Path) -> None:
    own, secret = tmp_path / "models", tmp_path / "tokens"
    shutil.copytree(models / "normal", own / "normal")
    write_version(own, "v", 1)
    secret.write_text('"Bearer s3cret-token-of-ana" "ana";\n')
    tls = certificate_files(tmp_path, trustme.CA())
    options = ("--tokens", secret, "--tls-certificate", tls.certificate, "--tls-key", tls.key)
    with gateway(own, "--scan-s", 0.3, "--alpha", 0.05, *options) as running:
        reach = ("--gateway", running.address.replace("127.0.0.1", "localhost"), "--ca-file", str(tls.root))
        assert run(own, "load", "v", *reach, "--token-file", str(secret)).exit_code == 0
        config = (own / "normal" / "config.pbtxt").read_text()
        shutil.copytree(own / "normal" / "1", own / ".staged")
        manifest = own / ".staged" / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 2}))
        shutil.rmtree(own / ".staged" / "calibrations")
        (own / ".staged").rename(own / "normal" / "2")
        refused = str(run(own, "load", "normal", *reach, "--token-file", str(secret), "--wait-s", "3").exception)
        assert "did not serve it within 3 s; it serves version 1; it refuses version 2: model 'normal' has no calib" in refused
        assert (own / "normal" / "config.pbtxt").read_text() == config
        write_version(own, "v", 2)
        without = str(run(own, "load", "v", *reach, "--wait-s", "1").exception)
        assert "UNAUTHENTICATED" in without


def test_two_loads_at_once_on_triton_end_with_one_version_chosen_and_served(
    tmp_path: Path, triton_install: TritonInstall
) -> None:
    own = tmp_path / "models"
    for number in (1, 2, 3):
        write_version(own, "v", number)
    repository = ModelRepository(own)
    with TritonServer(triton_install, own) as server, gateway(own, "--engine", f"triton://{server.grpc_url}") as running:
        callers = Callers(running, 2)
        callers.until(3)
        with ThreadPoolExecutor(2) as pool:
            wanted = [repository.version("v", number) for number in (1, 2)]
            loads = [pool.submit(load_on_triton, each, f"triton://{server.grpc_url}", each.version, {}) for each in wanted]
            for each in loads:
                each.result()
        served = served_version(repository, "v", f"triton://{server.grpc_url}")
        assert served == repository.served("v").version
        assert served in (1, 2)
        callers.until(served)
        assert set(callers.stop()) <= {1, 2, 3}


@pytest.mark.parametrize("words", [("load", "v"), ("rollback", "v")], ids=["load", "rollback"])
def test_a_full_disk_leaves_the_choice_as_it_was_and_is_named(tmp_path: Path, words: tuple[str, str]) -> None:
    own = tmp_path / "disk"
    own.mkdir()
    mount(own, "size=256k")
    try:
        for number in (1, 2, 3):
            write_version(own, "v", number)
        assert run(own, "load", "v", "--version", "2").exit_code == 0
        config = (own / "v" / "config.pbtxt").read_text()
        with contextlib.suppress(OSError), (own / "filler").open("wb") as file:
            while True:
                file.write(bytes(4096))
        error = run(own, *words).exception
        assert isinstance(error, RepositoryError)
        assert "config.pbtxt: cannot be written (no space left on device); it is as it was" in str(error)
        assert (own / "v" / "config.pbtxt").read_text() == config
    finally:
        subprocess.run(["umount", own], check=True)


@pytest.mark.parametrize("engine", ["ort", "triton"])
def test_a_command_that_is_stopped_while_it_writes_the_choice_puts_it_back(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    own = tmp_path / "models"
    for number in (1, 2):
        write_version(own, "v", number)
    with contextlib.ExitStack() as stack:
        if engine == "triton":
            server = stack.enter_context(TritonServer(request.getfixturevalue("triton_install"), own))
            engine = f"triton://{server.grpc_url}"
        config, ended = own / "v" / "config.pbtxt", []
        before = config.read_text()
        for flush in (1, 2):  # of the new file; of its folder, when it has been renamed
            command = [sys.executable, "-c", STOPPED.replace("AT", str(flush)), "models", "rollback", "v", "--engine", engine]
            ended.append(
                subprocess.run([*command, "--models", str(own)], capture_output=True, text=True, timeout=60, check=False)
            )
            assert config.read_text() == before
    assert [(each.returncode, each.stderr) for each in ended] == [(143, ""), (143, "")]
    assert {path.name for path in (own / "v").iterdir()} == {"1", "2", "config.pbtxt"}


def test_what_a_killed_command_left_on_triton_is_unloaded_by_a_later_one(tmp_path: Path, triton_install: TritonInstall) -> None:
    own = tmp_path / "models"
    write_version(own, "v", 1)
    version = ModelRepository(own).version("v")
    hour = 3600 * 10**9
    left, in_use = (f"avizor-load-{time.time_ns() - age}" for age in (2 * hour, hour // 2))
    with TritonServer(triton_install, own) as server, InferenceServerClient(server.grpc_url) as client:
        for name in (left, in_use):
            config = json.dumps(MessageToDict(version.config, preserving_proto_field_name=True) | {"name": name})
            client.load_model(name, config=config, files={"file:1/model.onnx": version.model_path.read_bytes()})
        assert run(own, "load", "v", "--engine", f"triton://{server.grpc_url}").exit_code == 0
        assert {model.name for model in client.get_inference_statistics().model_stats} == {"v", in_use}
