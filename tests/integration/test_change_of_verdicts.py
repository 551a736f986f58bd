"""On each engine: calibrations and versions that change while verdicts are asked for, one by one and in a stream."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import grpc
import pytest
from click.testing import CliRunner
from integration.gateway import Gateway, Stub, gateway, normal, odd
from integration.jobs import eventually
from integration.listeners import calm, chunks, start
from support.calibrations import recalibrated
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb
from avizor_inference.cli import models as models_command
from avizor_inference.repository.calibration import EngineKind
from avizor_inference.repository.calibration_store import roll_back

ODD = pb.DetectAnomalyRequest(model="normal", items=[pb.Item(audio=odd(), source="a")])
NORMAL = pb.DetectAnomalyRequest(model="normal", items=[pb.Item(audio=normal(), source="a")])


@dataclass(frozen=True)
class Site:
    """A gateway, its repository, and the engine by the words of a command line."""

    running: Gateway
    models: Path
    engine: str


@pytest.fixture(params=["ort", "triton"])
def site(request: pytest.FixtureRequest, models: Path, tmp_path: Path) -> Iterator[Site]:
    own = tmp_path / "models"
    shutil.copytree(models / "normal", own / "normal")
    with contextlib.ExitStack() as stack:
        engine = "ort"
        if request.param == "triton":
            install: TritonInstall = request.getfixturevalue("triton_install")
            engine = f"triton://{stack.enter_context(TritonServer(install, own)).grpc_url}"
        running = stack.enter_context(gateway(own, "--engine", engine, "--scan-s", 0.2, "--alpha", 0.05))
        yield Site(running, own, engine)


def test_each_answer_is_judged_by_the_calibration_that_it_names_while_calibrations_change(site: Site) -> None:
    """The odd item is more unusual than all n recordings, so its p-value is 1 / (n + 1)."""
    ended: Counter[tuple[str, int] | str] = Counter()
    quit = threading.Event()

    def ask() -> None:
        with grpc.insecure_channel(site.running.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            while not quit.is_set():
                try:
                    answer = Stub(channel).DetectAnomaly(ODD, timeout=30)
                    ended[answer.calibration_id, round(1 / answer.items[0].p_value)] += 1
                except grpc.RpcError as error:
                    ended[f"{error.code().name}: {error.details()}"] += 1

    with ThreadPoolExecutor(3) as pool, grpc.insecure_channel(site.running.address) as channel:
        callers = [pool.submit(ask) for _ in range(3)]
        stub = Stub(channel)
        try:
            assert eventually(lambda: bool(ended))
            first = stub.GetModel(pb.GetModelRequest(name="normal")).calibration.id
            second = recalibrated(site.models, "normal", recordings=12)
            assert eventually(lambda: ended[second, 25] > 0), ended
            third = recalibrated(site.models, "normal", recordings=10)
            assert eventually(lambda: ended[third, 21] > 0), ended
            before = ended[second, 25]
            assert roll_back(site.models / "normal" / "1", EngineKind("onnxruntime-cpu", "fp32")) == second
            assert eventually(lambda: ended[second, 25] > before), ended
            assert stub.GetModel(pb.GetModelRequest(name="normal")).calibration.id == second
        finally:
            quit.set()
        for caller in callers:
            caller.result()
    assert set(ended) == {(first, 61), (second, 25), (third, 21)}


def test_a_stream_keeps_its_version_or_says_that_another_stream_has_the_next_one(site: Site) -> None:
    sent: SimpleQueue[pb.MonitorRequest | None] = SimpleQueue()
    second = list(chunks(calm(1.2), 1 << 20))
    with grpc.insecure_channel(site.running.address) as channel:
        stub = Stub(channel)
        stream = stub.Monitor(iter(sent.get, None), timeout=120)
        sent.put(start(detector="normal", source="a"))
        sent.put(second[0])
        assert next(stream).started.detector_version == 1
        next(stream)
        publish_second(site)
        assert eventually(lambda: stub.DetectAnomaly(NORMAL).version == 2)
        if site.engine == "ort":
            sent.put(second[0])
            sent.put(None)
            *_, last = stream
            assert last.WhichOneof("message") == "ended"
        else:
            for _ in range(100):  # Triton unloads the version when the runs that it has begun have ended
                sent.put(second[0])
            with pytest.raises(grpc.RpcError) as caught:
                list(stream)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "version 1 of 'normal' is not loaded any more" in caught.value.details()
            assert "start another one: it uses the version that is served now" in caught.value.details()
            sent.put(None)
        again = stub.Monitor(iter([start(detector="normal", source="a"), *second]), timeout=120)
        assert next(again).started.detector_version == 2
        assert [message.WhichOneof("message") for message in again][-1] == "ended"


def publish_second(site: Site) -> None:
    """Publish the same model as version 2, and let it be served."""
    folder = Path(shutil.copytree(site.models / "normal" / "1", site.models / ".staged"))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))
    folder.rename(site.models / "normal" / "2")
    options = ["--models", str(site.models), "--engine", site.engine, "--gateway", site.running.address]
    result = CliRunner().invoke(models_command, ["load", "normal", *options])
    assert result.exit_code == 0, result.exception
    assert f"the gateway {site.running.address}" in result.output
