"""Make valid calls of every RPC of the contract, for the models of the tests. A new RPC is found by its descriptor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import torch
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from avizor.v1 import inference_pb2 as pb
from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import SignalFrontEnd
from support.every_format import files
from support.signals import SIGNAL, vibration
from support.sounds import SAMPLE_RATE, tone

SERVICE = pb.DESCRIPTOR.services_by_name["InferenceService"]
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Rpc:
    """One RPC, as its descriptor has it."""

    name: str
    request: type[Message]
    response: type[Message]
    is_stream: bool

    def start(self, channel: grpc.Channel, messages: Sequence[bytes], timeout: float = TIMEOUT_S) -> grpc.Call:
        """Start a call with messages as they are. On the wire a call of one message is a stream of one."""
        path = f"/{SERVICE.full_name}/{self.name}"
        if self.is_stream:
            return channel.stream_stream(path)(iter(messages), timeout=timeout)
        return channel.unary_unary(path).future(messages[0], timeout=timeout)

    def finish(self, call: grpc.Call) -> tuple[str, list[Message]]:
        """Wait for the code of a call that was started, and what it answered."""
        answers: list[bytes] = []
        try:
            answers.extend(call if self.is_stream else [call.result()])
        except grpc.RpcError as error:
            return error.code().name, [self.response.FromString(answer) for answer in answers]
        return "OK", [self.response.FromString(answer) for answer in answers]


def rpcs() -> list[Rpc]:
    """Return every RPC of the contract."""
    return [
        Rpc(method.name, GetMessageClass(method.input_type), GetMessageClass(method.output_type), method.client_streaming)
        for method in SERVICE.methods
    ]


def valid_calls(rpc: Rpc) -> list[list[Message]]:
    """Return calls of an RPC, as their messages. Which model takes which RPC is not known here: some are refused."""
    fields = rpc.request.DESCRIPTOR.fields_by_name
    if "items" in fields:
        return [[rpc.request(model=model, items=[item])] for model, item in items()]
    if "name" in fields:
        return [[rpc.request(name=model)] for model in sorted({model for model, _ in items()})]
    if "start" in fields:
        start = {"classifier": "kinds", "detector": "normal", "source": "a", "sample_rate": SAMPLE_RATE}
        pcm = (tone(1.3) * 2**15).astype("<i2").tobytes()
        return [[rpc.request(start=start), *(rpc.request(pcm=part) for part in (pcm[:9999], pcm[9999:]))]]
    return [[rpc.request()]]


def items() -> Iterator[tuple[str, pb.Item]]:
    """Yield items of every kind, and the model that takes each."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 1)).astype(np.uint8)
    sound = tone(4096 / SAMPLE_RATE)
    formats = files()
    yield "digits", pb.Item(image=formats["image"]["PNG RGB"])
    yield "digits", pb.Item(tensor=pb.Tensor(dtype="uint8", shape=pixels.shape, data=pixels.tobytes()))
    yield "kinds", pb.Item(audio=formats["audio"]["WAV PCM_16"])
    yield "kinds", pb.Item(pcm=pb.Pcm(sample_rate=16000, channels=2, data=(tone(1.0) * 2**15).astype("<i2").tobytes()))
    yield "normal", pb.Item(source="a", audio=formats["audio"]["FLAC PCM_16"])
    yield "normal", pb.Item(source="b", tensor=pb.Tensor(dtype="float32", shape=sound.shape, data=sound.tobytes()))
    yield "pumps", pb.Item(source="pump", signal=formats["signal"][".npy"])
    row = pb.Item(source="a")
    row.row.update({"amount": 120.5, "hour": 3, "country": "FR"})
    yield "transfers", row


def export_pumps(folder: Path) -> None:
    """Add `pumps` to a repository: an autoencoder of signals, not trained, calibrated for the source `pump`."""
    torch.manual_seed(0)
    spec = SIGNAL.model_copy(update={"front_end": SignalFrontEnd(mean=(0.0, 100.0), std=(9.0, 4.0))})
    normal = [NormalRecording("pump", vibration(250, seed).T[None].copy()) for seed in range(20)]
    network = build_autoencoder("conv4s2 conv4s4k9p4 latentmap2", (2, 250))
    export_model(network, ExportRequest("pumps", "reconstruct", spec, normal=normal), folder)
