"""A gateway whose repository changes under load: what is new is served, no call fails, and what is wrong is named."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from click.testing import CliRunner
from integration.gateway import Gateway, Stub, gateway, normal
from integration.jobs import eventually
from support.calibrations import recalibrated
from support.versioned_model import rows, write_version
from triton_server.install import TritonInstall
from triton_server.server import TritonServer

from avizor.v1 import inference_pb2 as pb
from avizor_client.cli import call

REQUEST = pb.EmbedRequest(model="v", items=[pb.Item(tensor=pb.Tensor(shape=[2], dtype="float32", data=rows()[0].tobytes()))])


class Callers:
    """Call again and again. `ended` counts the calls by status, or by the version that has answered.

    A version that has answered is wrong if the number in the answer is another one's.
    """

    def __init__(self, running: Gateway, count: int = 4) -> None:
        self.ended: Counter[object] = Counter()
        self._address, self._quit = running.address, threading.Event()
        self._pool = ThreadPoolExecutor(count)
        self._callers = [self._pool.submit(self._call) for _ in range(count)]

    def _call(self) -> None:
        with grpc.insecure_channel(self._address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = Stub(channel)
            while not self._quit.is_set():
                try:
                    answer = stub.Embed(REQUEST, timeout=20)
                    (number,) = np.frombuffer(answer.items[0].embedding.data, np.float32)
                    right = number == answer.version
                    self.ended[answer.version if right else f"{answer.version} with the output of another"] += 1
                except grpc.RpcError as error:
                    self.ended[f"{error.code().name}: {error.details()}"] += 1

    def until(self, version: int) -> None:
        """Return when this version has answered."""
        assert eventually(lambda: self.ended[version] > 0), self.ended

    def stop(self) -> Counter[object]:
        self._quit.set()
        for caller in self._callers:
            caller.result()
        self._pool.shutdown()
        return self.ended


def test_a_new_version_is_served_under_load_after_sighup_and_after_a_scan_without_a_failed_call(tmp_path: Path) -> None:
    write_version(tmp_path, "v", 1)
    with gateway(tmp_path, "--scan-s", 0.2) as running:
        callers = Callers(running)
        callers.until(1)
        write_version(tmp_path, "v", 2)
        callers.until(2)
        write_version(tmp_path, "v", 3)
        running.process.send_signal(signal.SIGHUP)
        callers.until(3)
        with grpc.insecure_channel(running.address) as channel:
            model = Stub(channel).GetModel(pb.GetModelRequest(name="v"))
        assert (model.version, list(model.versions)) == (3, [1, 2, 3])
        assert set(callers.stop()) == {1, 2, 3}


def test_one_bad_model_costs_the_others_nothing_and_is_named_in_log_and_metrics(models: Path, tmp_path: Path) -> None:
    own, log = tmp_path / "models", tmp_path / "log"
    write_version(own, "v", 1)
    (write_version(own, "v", 2) / "manifest.json").write_text("{")
    shutil.copytree(models / "normal", own / "normal")
    (own / "normal" / "1" / "manifest.json").write_text("[]")
    (own / "lost+found").mkdir()
    with gateway(own, "--scan-s", 0.2, "--alpha", 0.05, log=log) as running, grpc.insecure_channel(running.address) as channel:
        stub = Stub(channel)
        assert stub.Embed(REQUEST).version == 1
        listed = stub.ListModels(pb.ListModelsRequest())
        assert [model.name for model in listed.models] == ["v"]
        assert [(each.name, each.version, each.is_served) for each in listed.refused] == [
            ("lost+found", 0, False),
            ("normal", 1, False),
            ("v", 2, False),
        ]
        assert "holds no version of a model" in listed.refused[0].reason
        told = CliRunner().invoke(call, ["models", "--target", running.address]).output
        assert re.search(r"^not served: v version 2: .*is not a manifest", told, re.MULTILINE), told
        with pytest.raises(grpc.RpcError, match="is not a manifest"):
            stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=[pb.Item(audio=normal())]))
        metrics = running.metrics()
        assert {
            key: value for key, value in metrics.items() if key.startswith(("avizor_model_up", "avizor_version_refused"))
        } == {
            'avizor_model_up{model="lost+found"}': 0,
            'avizor_model_up{model="normal"}': 0,
            'avizor_model_up{model="v"}': 1,
            'avizor_version_refused{model="lost+found",version="0"}': 1,
            'avizor_version_refused{model="normal",version="1"}': 1,
            'avizor_version_refused{model="v",version="2"}': 1,
        }
        shutil.copy(models / "normal" / "1" / "manifest.json", own / "normal" / "1")
        shutil.rmtree(own / "lost+found")
        assert eventually(lambda: running.metrics()['avizor_model_up{model="normal"}'] == 1)
        assert not [key for key in running.metrics() if "lost+found" in key]
    text = log.read_text()
    for words in (r"'lost\+found', refused: .*holds no version", "'normal'.*is not a manifest", "'v', version 2 is refused"):
        assert re.search(words, text), text
    assert text.count("is refused: ") == 2, "each is named once, and not at every look"


def test_a_model_that_is_loaded_while_the_gateway_runs_is_judged_and_watched(models: Path, tmp_path: Path) -> None:
    own = tmp_path / "models"
    write_version(own, "v", 1)
    with gateway(own, "--scan-s", 0.2, "--alpha", 0.05) as running:
        assert not [key for key in running.metrics() if "normal" in key]
        shutil.copytree(models / "normal", own / ".staged")
        (own / ".staged").rename(own / "normal")
        assert eventually(lambda: running.metrics().get('avizor_alert_alpha{model="normal"}') == 0.05)
        metrics = running.metrics()
        assert len([key for key in metrics if key.startswith("avizor_calibration_info{calibration_id=")]) == 1
        for source in ("a", "b", "other"):
            assert metrics[f'avizor_items_scored_total{{model="normal",source="{source}"}}'] == 0
            assert metrics[f'avizor_anomalies_total{{model="normal",source="{source}"}}'] == 0


def test_a_new_calibration_takes_over_as_a_whole_and_a_broken_one_leaves_the_old_one(models: Path, tmp_path: Path) -> None:
    own, log = tmp_path / "models", tmp_path / "log"
    shutil.copytree(models / "normal", own / "normal")
    request = pb.DetectAnomalyRequest(model="normal", items=[pb.Item(audio=normal(), source="a")])
    with gateway(own, "--scan-s", 0, "--alpha", 0.05, log=log) as running, grpc.insecure_channel(running.address) as channel:
        stub = Stub(channel)
        first = stub.DetectAnomaly(request).calibration_id

        def used() -> tuple[str, str, list[str], list[str]]:
            model = stub.GetModel(pb.GetModelRequest(name="normal"))
            shown = [key.split('"')[1] for key in running.metrics() if key.startswith("avizor_calibration_info")]
            return stub.DetectAnomaly(request).calibration_id, model.calibration.id, [c.id for c in model.calibrations], shown

        second = recalibrated(own, "normal")
        assert used() == (first, first, [first], [first]), "nothing changes before it is looked at"
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: used()[0] == second)
        assert used() == (second, second, [second], [second])
        third = recalibrated(own, "normal")
        (own / "normal" / "1" / "calibrations" / f"{third}.json").write_text("{")
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: running.metrics().get('avizor_version_refused{model="normal",version="1"}') == 1)
        assert used() == (second, second, [second], [second])
        assert running.stop() == 0  # the log is whole
    assert f"{third}.json is not a calibration" in log.read_text()


def test_on_triton_a_version_takes_over_and_goes_without_a_failed_call(tmp_path: Path, triton_install: TritonInstall) -> None:
    own = tmp_path / "models"
    write_version(own, "v", 1)
    write_version(own, "w", 1)
    with (
        TritonServer(triton_install, own) as server,
        gateway(own, "--engine", f"triton://{server.grpc_url}", "--scan-s", 60) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub, triton = Stub(channel), tritonclient.grpc.InferenceServerClient(server.grpc_url)
        callers = Callers(running)
        callers.until(1)
        write_version(own, "v", 2)
        triton.load_model("v")
        callers.until(2)
        assert stub.GetModel(pb.GetModelRequest(name="v")).version == 2
        config = own / "v" / "config.pbtxt"
        config.write_text(config.read_text() + "version_policy { specific { versions: [ 1 ] } }")
        before = callers.ended[1]
        triton.load_model("v")
        assert eventually(lambda: callers.ended[1] > before)
        assert stub.GetModel(pb.GetModelRequest(name="v")).version == 1
        with pytest.raises(grpc.RpcError) as caught:
            stub.Embed(pb.EmbedRequest(model="v", version=2, items=REQUEST.items))
        assert caught.value.code().name == "UNAVAILABLE"
        assert set(callers.stop()) == {1, 2}


def test_a_version_without_calibration_does_not_end_the_verdicts_of_the_one_before(models: Path, tmp_path: Path) -> None:
    own = tmp_path / "models"
    shutil.copytree(models / "normal", own / "normal")
    shutil.copytree(own / "normal" / "1", own / ".staged")
    manifest = own / ".staged" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 2}))
    shutil.rmtree(own / ".staged" / "calibrations")
    request = pb.DetectAnomalyRequest(model="normal", items=[pb.Item(audio=normal(), source="a")])
    with gateway(own, "--scan-s", 0.2, "--alpha", 0.05) as running, grpc.insecure_channel(running.address) as channel:
        stub = Stub(channel)
        assert stub.DetectAnomaly(request).version == 1
        (own / ".staged").rename(own / "normal" / "2")
        assert eventually(lambda: running.metrics().get('avizor_version_refused{model="normal",version="2"}') == 1)
        assert stub.DetectAnomaly(request).version == 1
        shutil.copytree(own / "normal" / "1" / "calibrations", own / "normal" / "2" / "calibrations")
        assert eventually(lambda: stub.DetectAnomaly(request).version == 2)
