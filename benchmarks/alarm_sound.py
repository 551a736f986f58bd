"""Let a gateway's Monitor hear hours of generated sound, with a small autoencoder: the last table of alarms.py."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from pathlib import Path

import grpc
import numpy as np
import torch
from integration.gateway import Stub, gateway
from support.networks import PaddedAutoencoder
from support.sounds import SAMPLE_RATE, SOUND

from avizor.v1 import inference_pb2 as pb
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.data.recording import NormalRecording

RECORDINGS = 99
WINDOWS = 20  # of 0.512 s in a recording, and so in a stretch
FAULT_S = 120


def hum(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Return a machine's sound of so many seconds: float32[samples]. Its loudness drifts, and goes back within seconds."""
    count = round(seconds * SAMPLE_RATE)
    steps = rng.standard_normal(round(seconds) + 2)
    loudness = np.convolve(steps, np.exp(-np.arange(10) / 2), mode="full")[: len(steps)]
    gain = np.exp(0.2 * np.interp(np.arange(count) / SAMPLE_RATE, np.arange(len(steps)), loudness))
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(count) / SAMPLE_RATE)
    samples: np.ndarray = (gain * (tone + 0.03 * rng.standard_normal(count))).astype(np.float32)
    return samples


def hours_of_sound(folder: Path, hours: float) -> bool:
    """Print false alarms and the delay of a fault. Return whether the false alarms are within the bound."""
    rng = np.random.default_rng(0)
    recording_s = WINDOWS * SOUND.window_samples / SAMPLE_RATE
    normal = [
        NormalRecording("fan", hum(rng, recording_s + 0.01)[: WINDOWS * SOUND.window_samples].reshape(WINDOWS, -1))
        for _ in range(RECORDINGS)
    ]
    torch.manual_seed(0)
    export_model(PaddedAutoencoder(), ExportRequest("fan", "reconstruct", SOUND, normal=normal), folder)
    fine = True
    with gateway(folder, "--metrics-port", 0) as running, grpc.insecure_channel(running.address) as channel:
        for asked, assumes in ((1.0, False), (1.0, True)):
            start = pb.MonitorStart(
                detector="fan",
                source="fan",
                sample_rate=SAMPLE_RATE,
                format=pb.PCM_FORMAT_F32LE,
                false_alarms_per_hour=asked,
                assume_exchangeable=assumes,
            )
            fine &= _listen(running.stub(channel), start, hours)
    return fine


def _listen(stub: Stub, start: pb.MonitorStart, hours: float) -> bool:
    fault_at = hours * 3600

    def sound() -> Iterator[pb.MonitorRequest]:
        yield pb.MonitorRequest(start=start)
        rng = np.random.default_rng(1)
        for _ in range(round(fault_at / 60)):
            yield pb.MonitorRequest(pcm=hum(rng, 60).tobytes())
        fault = hum(rng, FAULT_S) + 0.1 * rng.standard_normal(FAULT_S * SAMPLE_RATE).astype(np.float32)
        yield pb.MonitorRequest(pcm=fault.astype(np.float32).tobytes())

    false, flagged, judged, heard_s = 0, 0, 0, float("nan")
    for message in stub.Monitor(sound()):
        if message.WhichOneof("message") == "started":
            started = message.started
        window = message.window
        is_normal = window.span.end_s <= fault_at
        if window.HasField("stretch") and is_normal:
            judged, flagged = judged + 1, flagged + window.stretch.is_flagged
        if window.alarm_changed and window.alarm:
            false += is_normal
            heard_s = window.span.end_s - fault_at
    bound = started.false_alarms_per_hour_if_exchangeable if start.assume_exchangeable else started.false_alarms_per_hour
    assumes = "exchangeable" if start.assume_exchangeable else "nothing"
    print(
        f"{hours:g} h of sound, {RECORDINGS} recordings, stretches of {started.stretch_s:.2f} s, asked "
        f"{start.false_alarms_per_hour:g}/h, assumes {assumes}: k {started.stretches_to_alarm}, bound "
        f"{bound:.3g}/h; {false} false alarms, {flagged} of {judged} stretches flagged, fault heard after {heard_s:.1f} s"
    )
    return bool(false <= bound * hours + 3 * sqrt(bound * hours))
