"""Calibrations are kept for OpenVINO and its precision: no score is compared with those of other arithmetic."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from integration.gateway import AVIZOR, Stub, gateway, normal, odd
from integration.jobs import batch, query
from support.sounds import tone, write_wav
from support.warm_starts import warm_run

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.openvino import computes_bf16

pytestmark = pytest.mark.skipif(not computes_bf16(), reason="the processor has no instructions for bf16")


def verdicts(own: Path, engine: str) -> tuple[str, list[bool]]:
    items = [pb.Item(audio=sound) for sound in (normal(), odd())]
    with gateway(own, "--engine", engine, "--alpha", 0.05) as running, grpc.insecure_channel(running.address) as channel:
        answer = Stub(channel).DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=items))
        assert running.metrics()[f'avizor_engine_up{{engine="{engine}"}}'] == 1
        return answer.calibration_id, [item.is_anomaly for item in answer.items]


def test_bf16_has_a_calibration_of_its_own_in_gateway_and_batch(models: Path, tmp_path: Path) -> None:
    own, sounds = tmp_path / "models", tmp_path / "sounds"
    for name in ("normal", "kinds"):
        shutil.copytree(models / name, own / name)
    for seed in range(30):
        write_wav(sounds / "a" / f"{seed}.wav", tone(0.6, seed=seed))
    exported = json.loads((own / "normal" / "1" / "calibrations" / "active.json").read_text())
    ((key, (fp32,)),) = exported["histories"].items()
    assert key == "onnxruntime-cpu/fp32"
    assert verdicts(own, "openvino") == (fp32, [False, True]), "it agrees on the probe items"

    tune = "tune normal --engine openvino:bf16 --seconds 0.1 --batch 4 --threads 1 --instances 1 --dry-run --models"
    tuned = warm_run([str(AVIZOR), *tune.split(), str(own)], cwd=tmp_path)
    assert "there are no verdicts there yet: " in tuned.stdout
    refused = batch(sounds, own, tmp_path / "refused", "--engine", "openvino:bf16")
    assert refused.returncode == 1
    assert "runs on openvino in bf16 without a calibration for it" in refused.stderr
    command = refused.stderr.partition("Calibrate it there with normal items: avizor ")[2].splitlines()[0]
    assert f"avizor {command}" in tuned.stdout
    made = subprocess.run([AVIZOR, *command.replace("DIR", str(sounds)).split()], capture_output=True, text=True, check=True)
    active = json.loads((own / "normal" / "1" / "calibrations" / "active.json").read_text())
    bf16 = active["histories"]["openvino/bf16"][-1]
    assert bf16 in made.stdout
    assert verdicts(own, "openvino:bf16") == (bf16, [False, True])
    done = batch(sounds, own, tmp_path / "done", "--engine", "openvino:bf16")
    assert done.returncode == 0, done.stderr
    assert query(f"select count(*) from '{tmp_path}/done/recordings/*.parquet'") == [(60,)]
