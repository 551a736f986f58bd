"""A Triton that goes away while a job runs is waited for, as long as --engine-wait-s says."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from integration.jobs import AVIZOR, command, committed, eventually, query, start, wait_for_first_shard
from support.warm_starts import warm_run
from triton_server.install import TritonInstall
from triton_server.server import TritonServer
from tritonclient.grpc import InferenceServerClient

from avizor_inference.repository.models import ModelRepository
from avizor_pipeline.engine_wait import wait_line

pytestmark = pytest.mark.slow  # a server is started twice


@pytest.fixture
def triton(models: Path, triton_install: TritonInstall) -> Iterator[TritonServer]:
    with TritonServer(triton_install, models) as server:
        yield server


class Job:
    """A job on a Triton; `said` is what it has written to standard error so far."""

    def __init__(self, data: Path, models: Path, out: Path, triton: TritonServer, *more: str) -> None:
        self.said = ""
        self.process = start(*command(data, models, out, "--engine", f"triton://{triton.grpc_url}", *more))
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line

    def end(self) -> int:
        code = self.process.wait(timeout=240)
        self._reader.join()
        return code


def test_an_engine_that_comes_back_costs_time_and_nothing_else(
    many_recordings: Path, models: Path, triton: TritonServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    job = Job(many_recordings, models, out, triton, "--workers", "1", "--batch-size", "1")
    wait_for_first_shard(out, job.process)
    triton.kill()
    done = committed(out)
    assert eventually(lambda: wait_line(True) in job.said)
    triton.start()
    assert job.end() == 0, job.said
    assert done < 7
    assert "the engine is back" in job.said
    assert job.said.count("is away") == 1
    rows = f"select count(*), count(distinct (uri, model)) from '{out}/recordings/*.parquet'"
    assert query(rows) == [(800, 800)]
    assert not list((out / "dead_letters").iterdir())


def test_an_engine_that_stays_away_ends_the_job_which_goes_on_later(
    many_recordings: Path, models: Path, triton: TritonServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    limits = ("--workers", "1", "--batch-size", "1", "--engine-wait-s", "2")
    job = Job(many_recordings, models, out, triton, *limits)
    wait_for_first_shard(out, job.process)
    triton.kill()
    assert job.end() == 1
    assert (
        "; that lasted 2 s (--engine-wait-s), and finished shards are kept: start it, or mend what is between, and" in job.said
    )
    again = warm_run(command(many_recordings, models, out, "--engine", f"triton://{triton.grpc_url}", *limits), timeout=60)
    assert again.returncode == 1  # an engine that is away at the start is not waited for: the address may be wrong
    triton.start()
    job = Job(many_recordings, models, out, triton, *limits)
    assert job.end() == 0, job.said


def test_a_version_that_triton_has_unloaded_ends_the_job_which_says_what_to_load(
    many_recordings: Path, models: Path, triton: TritonServer, tmp_path: Path
) -> None:
    limits = ("--workers", "1", "--batch-size", "1", "--engine-wait-s", "2")
    job = Job(many_recordings, models, tmp_path / "out", triton, *limits)
    wait_for_first_shard(tmp_path / "out", job.process)
    with InferenceServerClient(triton.grpc_url) as client:
        client.unload_model("normal")
        assert job.end() == 1
        assert "has not loaded model 'normal'" in job.said
        assert "kept: load that version again (`avizor models load NAME --version N`), and run the same command" in job.said
        client.load_model("normal")
    assert Job(many_recordings, models, tmp_path / "out", triton, *limits).end() == 0


def test_a_job_that_waits_can_be_stopped(many_recordings: Path, models: Path, triton: TritonServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = Job(many_recordings, models, out, triton, "--workers", "1", "--batch-size", "1")
    wait_for_first_shard(out, job.process)
    triton.kill()
    assert eventually(lambda: "the engine is away" in job.said)
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143
    assert "stopped by SIGTERM; finished shards are kept: run the same command again to go on" in job.said


def test_a_version_that_triton_loads_again_for_smaller_batches_is_not_waited_for(
    many_recordings: Path, models: Path, triton: TritonServer, tmp_path: Path
) -> None:
    out, name = tmp_path / "out", "normal"
    config = MessageToDict(ModelRepository(models).version(name).config, preserving_proto_field_name=True)
    smaller = {**config, "max_batch_size": 3, "dynamic_batching": {}, "model_warmup": []}
    job = Job(many_recordings, models, out, triton, "--workers", "1", "--engine-wait-s", "20")
    wait_for_first_shard(out, job.process)
    with InferenceServerClient(triton.grpc_url) as client:
        client.load_model(name, config=json.dumps(smaller))
    done = committed(out)
    assert job.end() == 0, job.said
    assert done < 7
    assert warm_run([str(AVIZOR), "verify", str(out)], timeout=60).returncode == 0
    whole = tmp_path / "whole"
    assert warm_run(command(many_recordings, models, whole), timeout=120).returncode == 0
    scores, expected = (
        [score for (score,) in query(f"select score from '{each}/recordings/*.parquet' where model = '{name}' order by uri")]
        for each in (out, whole)
    )
    assert scores == pytest.approx(expected, rel=1e-3)
