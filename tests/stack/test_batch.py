"""A batch job in the stack: on its Triton, with its Pushgateway, and with results that belong to who ran it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import tritonclient.grpc
from integration.jobs import query
from stack.compose import Stack
from support.environment import ROOT
from support.shown_commands import run_shown

pytestmark = pytest.mark.stack

# Of the job's results, and as whom it runs: somebody who is not root, and not who the containers run as by default.
USER = (4242, 4243) if os.getuid() == 0 else (os.getuid(), os.getgid())
AS_USER = ("--user", "{}:{}".format(*USER))
MODEL = ("--model", "machine-sound", "--alpha", "0.05")
COPIES = 3000  # of a recording: Docker may need seconds to pause a job, which is not to end before


@dataclass(frozen=True)
class Jobs:
    """Runs jobs over a folder of data, into one of results."""

    running: Stack
    data: Path
    results: Path

    def environment(self) -> dict[str, str]:
        return self.running.environment | {"AVIZOR_BATCH_DATA": str(self.data), "AVIZOR_BATCH_RESULTS": str(self.results)}

    def command(self, *arguments: str, options: tuple[str, ...] = AS_USER) -> list[str]:
        return self.running.command("run", "--rm", "-T", *options, "batch", *arguments)

    def run(self, *arguments: str, options: tuple[str, ...] = AS_USER, **more: str) -> subprocess.CompletedProcess[str]:
        command, environment = self.command(*arguments, options=options), self.environment() | more
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)

    @contextmanager
    def held(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A job that stands still: its container is paused after its first shard. It is killed at the end."""
        out = self.results / arguments[-1].removeprefix("/results/")
        command = self.command(*arguments, options=(*AS_USER, "--name", name))
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, cwd=ROOT, env=self.environment(), stdout=quiet, stderr=quiet) as process:
            try:
                wait_until("its first shard", lambda: any((out / "commits").glob("*.json")))
                subprocess.run(["docker", "pause", name], check=True, capture_output=True)
                yield process
            finally:
                subprocess.run(["docker", "kill", name], check=False, capture_output=True)


def wait_until(what: str, holds: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def image(running: Stack) -> None:
    """The image of jobs, from the code that is here."""
    running.compose("build", "batch", timeout_s=1500)


@pytest.fixture
def jobs(image: None, running: Stack, machines: Path, tmp_path: Path) -> Jobs:
    """Forty recordings of two machines, with names that are hostile, and a broken one."""
    data, results = tmp_path / "data", tmp_path / "results"
    results.mkdir()
    os.chown(results, *USER)
    for machine in ("fan-1", "pump-1"):
        (data / machine).mkdir(parents=True)
        for path in sorted((machines / "sounds" / "test" / machine).glob("normal_*"))[:20]:
            shutil.copy(path, data / machine)
    sound = path.read_bytes()
    for name in ("-rf.wav", "new\nline.wav", "esc\x1b[31m.wav", 'quo"te$(id).wav'):
        (data / "pump-1" / name).write_bytes(sound)
    Path(os.fsdecode(os.fsencode(data / "pump-1") + b"/caf\xe9.wav")).write_bytes(sound)
    (data / "pump-1" / "broken.wav").write_bytes(sound[:2000])
    return Jobs(running, data, results)


def rows_of_triton(running: Stack) -> int:
    client = tritonclient.grpc.InferenceServerClient(running.front, ssl=True, root_certificates=str(running.certificate))
    (model,) = client.get_inference_statistics("machine-sound", headers={"authorization": running.token}).model_stats
    return int(model.inference_count)


def pushed(running: Stack) -> str:
    return running.compose("exec", "-T", "prometheus", "wget", "-qO-", "http://pushgateway:9091/metrics")


def test_a_job_runs_on_the_stacks_triton_and_its_end_is_kept_by_the_pushgateway(jobs: Jobs) -> None:
    running, before = jobs.running, rows_of_triton(jobs.running)
    done = jobs.run("fan-1", "pump-1", *MODEL, "--push-job", "stack")
    assert done.returncode == 3, done.stdout + done.stderr
    results = jobs.results
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (results, *results.rglob("*"))}
    assert owners == {USER}
    rows = query(f"select uri, source from '{results}/recordings/*.parquet'")
    assert len(rows) == 45
    assert ("pump-1/new\nline.wav", "default") in rows
    assert query(f"select uri from '{results}/dead_letters/*.parquet'") == [("pump-1/broken.wav",)]
    ((windows,),) = query(f"select count(*) from '{results}/windows/*.parquet'")
    assert rows_of_triton(running) - before >= windows
    verified = jobs.run("/results", options=(*AS_USER, "--entrypoint", "avizor verify"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "complete: planned = recordings + dead letters" in verified.stdout

    ended = re.compile(r'^avizor_batch_last_exit_code\{.*job="stack".*\} 3$', re.MULTILINE)
    assert ended.search(pushed(running))
    running.compose("restart", "-t", "5", "pushgateway")
    running.wait_until_healthy()
    assert ended.search(pushed(running)), "it was not kept"


def test_a_version_is_loaded_by_the_script_of_the_stack_in_the_same_image(image: None, running: Stack) -> None:
    command = [str(ROOT / "deploy" / "models.sh"), "load", "machine-sound"]
    own = running.environment | {"COMPOSE": shlex.join(running.command())}
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "machine-sound: version 1 is served by triton://triton:8001" in done.stdout


def test_a_model_is_measured_on_the_stacks_triton_by_the_same_script(image: None, running: Stack, tmp_path: Path) -> None:
    few = ["--instances", "1", "--queue-delay-us", "0", "--clients", "1", "--seconds", "0.1", "--dry-run"]
    command = [str(ROOT / "deploy" / "models.sh"), "tune", "machine-sound", *few]
    own = running.environment | {"COMPOSE": shlex.join(running.command())}
    done = subprocess.run(command, env=own, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "tune-machine-sound.png").exists()


def test_a_job_that_was_killed_goes_on_and_two_at_once_are_not_possible(jobs: Jobs) -> None:
    for number in range(COPIES):
        shutil.copy(jobs.data / "fan-1" / sorted(os.listdir(jobs.data / "fan-1"))[0], jobs.data / "fan-1" / f"copy{number}.wav")
    command = ("fan-1", *MODEL, "--workers", "1", "--out", "/results/killed")
    with jobs.held(name := f"{jobs.running.project}-killed", *command) as first:
        second = jobs.run(*command)
        assert second.returncode == 1
        assert "another job is running in /results/killed" in second.stderr
        container = jobs.running.containers()["batch"]
        subprocess.run(["docker", "kill", name], check=True, capture_output=True)
        assert first.wait() == 137
    host = container["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["CapAdd"], host["Privileged"]) == (True, ["ALL"], None, False)
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert (host["Memory"], host["PidsLimit"]) == (4 << 30, 1024)
    assert {mount["Destination"] for mount in container["Mounts"] if mount["RW"]} == {"/results"}
    assert not any("secrets" in mount["Source"] for mount in container["Mounts"])
    assert set(container["NetworkSettings"]["Networks"]) == {f"{jobs.running.project}_jobs"}

    kept = len(list((jobs.results / "killed" / "commits").glob("*.json")))
    again = jobs.run(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert kept > 0
    assert re.search(rf"{20 + COPIES} files, [1-9]\d* of them by earlier runs", again.stdout)
    verified = jobs.run("/results/killed", options=(*AS_USER, "--entrypoint", "avizor verify"))
    assert "complete: planned = recordings + dead letters, and no row is there twice" in verified.stdout


def test_its_container_has_no_torch_no_gateway_and_reaches_two_servers_alone(jobs: Jobs) -> None:
    code = """
import importlib.util, os, socket
packages = "torch", "avizor_service", "avizor_export", "avizor_pipeline"
print(*[name for name in packages if importlib.util.find_spec(name)])
within = "triton:8001", "pushgateway:9091", "gateway:50051", "nginx:8443", "prometheus:9090", "alertmanager:9093"
for place in (*within, "1.1.1.1:443"):
    try: socket.create_connection(place.split(":"), 3); print(place)
    except OSError: pass
for path in ("/x", "/data/x", "/models/x", "/opt/avizor/x"):
    try: open(path, "w"); print(path)
    except OSError: pass
"""
    done = jobs.run("-c", code, options=(*AS_USER, "--entrypoint", "python"))
    assert done.stdout.splitlines() == ["avizor_export avizor_pipeline", "triton:8001", "pushgateway:9091"], done.stderr


def test_the_page_on_it_runs_as_it_is(jobs: Jobs, tmp_path: Path) -> None:
    month = tmp_path / "recordings" / "july"
    month.mkdir(parents=True)
    for machine in ("fan-1", "pump-1"):
        (month / machine).mkdir()
        for path in sorted((jobs.data / machine).glob("normal_*"))[:12]:
            shutil.copy(path, month / machine)
    (tmp_path / "bin").mkdir()  # its user, where root runs the tests
    (tmp_path / "bin" / "id").write_text(f'#!/bin/sh\n[ "$1" = -u ] && echo {USER[0]} || echo {USER[1]}\n')
    (tmp_path / "bin" / "id").chmod(0o755)
    environment = jobs.running.environment | {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "COMPOSE_FILE": str(ROOT / "docker-compose.yml"),
        "COMPOSE_PROJECT_NAME": jobs.running.project,
    }
    run_shown(text("in-the-stack"), tmp_path, environment, left_out=None)


def text(page: str) -> str:
    return (ROOT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "options", "unset", "says"),
    [
        (("fan-1",), (), "AVIZOR_BATCH_DATA", "no data are here: name their folder in AVIZOR_BATCH_DATA"),
        (("fan-1",), AS_USER, "AVIZOR_BATCH_RESULTS", "no folder for results is here"),
        (("/home/ann/fan-1",), AS_USER, "", "/home/ann/fan-1: no such file or folder in the data"),
        (("fan-1",), ("--user", "1:1"), "", "user 1:1 cannot write the folder of the results, AVIZOR_BATCH_RESULTS"),
        (("fan-1",), ("--user", "0:0"), "", "the job does not run as root"),
        (("fan-1", "--out", "here"), AS_USER, "", "--out /data/here would be lost with the container"),
        (("fan-1", "--model", "nope"), AS_USER, "", "no model named 'nope'. Available:"),
    ],
)
def test_what_a_user_gets_wrong_is_said(
    arguments: tuple[str, ...], options: tuple[str, ...], unset: str, says: str, jobs: Jobs
) -> None:
    done = jobs.run(*arguments, *MODEL, options=options, **({unset: ""} if unset else {}))
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(jobs.results) == []


def test_a_stack_that_is_down_is_said(jobs: Jobs) -> None:
    down = Stack(Path(jobs.running.environment["AVIZOR_MODELS"]), 0.05)
    try:
        done = Jobs(down, jobs.data, jobs.results).run("fan-1", *MODEL)
        assert done.returncode == 1
        assert "triton:8001 does not answer" in done.stderr
        assert "`make up` starts it" in done.stderr
        assert down.compose("ps", "-q").strip() == ""  # it has started no half of a stack
    finally:
        down.compose("down", "--volumes")
