"""Embed, Reconstruct, outputs on request and PCM over real sockets, on both engines, with models whose answers are known."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile
import torch
from google.rpc.error_details_pb2 import BadRequest
from grpc_reflection.v1alpha import reflection_pb2
from integration.gateway import Gateway, Stub, gateway, png, wav
from PIL import Image
from support.environment import device
from support.sounds import tone
from support.tritons import serving_triton
from torch import Tensor, nn

from avizor.v1 import inference_pb2 as pb
from avizor_export.exporter import export_model
from avizor_export.request import ExportRequest
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.items.data.recording import NormalRecording
from avizor_inference.items.input_spec import AudioInput, ImageFrontEnd, ImageInput, WaveformFrontEnd

WAVE = AudioInput(sample_rate=8000, window_samples=1000, hop_samples=600, front_end=WaveformFrontEnd())
PICTURE = ImageInput(
    height=12,
    width=10,
    channels=3,
    front_end=ImageFrontEnd(order="bgr", layout="nhwc", range="0..255", mean=(103.5, 116.3, 123.7), std=(57.4, 57.1, 58.4)),
)
SMALL = ImageInput(height=6, width=5, channels=3, front_end=ImageFrontEnd(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)))


class Twice(nn.Module):
    """Doubles its input, and flattens it."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 2).flatten(1)


class Scaled(nn.Module):
    """An autoencoder that returns its input times a constant. Its embedding is twice the input."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.encoder, self.factor = Twice(), factor

    def forward(self, x: Tensor) -> Tensor:
        return torch.reshape(self.encoder(x) * (self.factor / 2), x.shape)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`copied` returns pictures as they are, `doubled` each pixel four times, `halved` sound at half its loudness."""
    folder = tmp_path_factory.mktemp("known") / "models"
    serving: ServingOptions = {"max_batch_size": 16}
    export_model(Scaled(1), ExportRequest("copied", "reconstruct", PICTURE, serving=serving), folder)
    export_model(nn.Upsample(scale_factor=2.0), ExportRequest("doubled", "reconstruct", SMALL, serving=serving), folder)
    normal = [NormalRecording("a", tone(0.125, seed=seed)[None]) for seed in range(25)]
    export_model(Scaled(0.5), ExportRequest("halved", "reconstruct", WAVE, normal=normal, serving=serving), folder)
    return folder


@pytest.fixture(scope="module", params=["embedded", "triton"])
def running(request: pytest.FixtureRequest, known: Path) -> Iterator[Gateway]:
    limits = ("--max-answer-mib", 1, "--alpha", 0.05)
    if request.param == "embedded":
        with gateway(known, "--device", device(), *limits) as started:
            yield started
        return
    with serving_triton(request, known) as address, gateway(known, "--engine", f"triton://{address}", *limits) as started:
        yield started


@pytest.fixture
def calls(running: Gateway) -> Iterator[Stub]:
    with grpc.insecure_channel(running.address) as channel:
        yield running.stub(channel)


def read_png(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def read_wav(data: bytes) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return samples, rate


def reconstruct(calls: Stub, model: str, format: pb.ReconstructionFormat, *items: pb.Item) -> list[pb.Reconstruction]:
    return list(calls.Reconstruct(pb.ReconstructRequest(model=model, items=items, format=format)).items)


def test_a_reconstructed_picture_looks_as_the_original_whatever_the_front_end(calls: Stub) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3)).astype(np.uint8)
    item, bad = pb.Item(image=png(pixels)), pb.Item(image=b"no picture")
    good, error = reconstruct(calls, "copied", pb.RECONSTRUCTION_FORMAT_PNG, item, bad)
    np.testing.assert_array_equal(read_png(good.png), pixels)
    assert not good.spans
    assert error.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    violation = BadRequest()
    assert error.error.details[0].Unpack(violation)
    assert violation.field_violations[0].field == "items[1]"
    (tensor,) = reconstruct(calls, "copied", pb.RECONSTRUCTION_FORMAT_UNSPECIFIED, item)
    values = np.frombuffer(tensor.tensor.data, "<f4").reshape(tuple(tensor.tensor.shape))
    expected = (pixels[..., ::-1] - np.array([103.5, 116.3, 123.7])) / np.array([57.4, 57.1, 58.4])
    np.testing.assert_allclose(values, expected[None], atol=1e-4)
    assert tensor.spans == [pb.Span()]


def test_super_resolution_returns_a_larger_picture(calls: Stub) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    (item,) = reconstruct(calls, "doubled", pb.RECONSTRUCTION_FORMAT_PNG, pb.Item(image=png(pixels)))
    np.testing.assert_array_equal(read_png(item.png), pixels.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("samples", [1, 700, 1000, 2345])
def test_a_reconstructed_sound_is_whole_and_has_its_channels(calls: Stub, samples: int) -> None:
    sound = np.stack([tone(0.5, seed=seed)[:samples] for seed in (0, 1)], axis=1)[:, :2]
    stereo = pb.Item(audio=wav(sound))
    mixed = pb.Item(audio=wav(sound), channel_mode=pb.CHANNEL_MODE_MIX)
    two, one = reconstruct(calls, "halved", pb.RECONSTRUCTION_FORMAT_WAV, stereo, mixed)
    for item, expected in ((two, sound / 2), (one, sound.mean(axis=1, keepdims=True) / 2)):
        got, rate = read_wav(item.wav)
        assert (rate, got.shape) == (8000, expected.shape)
        np.testing.assert_allclose(got, expected, atol=1 / 32768)


def test_a_tensor_becomes_a_sound_of_one_window(calls: Stub) -> None:
    sound = tone(0.125)
    tensor = pb.Tensor(dtype="float32", shape=[1000], data=sound.tobytes())
    (item,) = reconstruct(calls, "halved", pb.RECONSTRUCTION_FORMAT_WAV, pb.Item(tensor=tensor))
    np.testing.assert_allclose(read_wav(item.wav)[0][:, 0], sound / 2, atol=1 / 32768)


def test_pcm_is_answered_as_the_wav_file_with_the_same_samples(calls: Stub) -> None:
    levels = (tone(1.0) * 32767).astype("<i2").reshape(-1, 2)
    pcm = pb.Pcm(sample_rate=16000, channels=2, data=levels.tobytes())
    floats = pb.Pcm(
        sample_rate=16000, channels=2, format=pb.PCM_FORMAT_F32LE, data=(levels / np.float32(32768)).astype("<f4").tobytes()
    )
    file = wav(levels, 16000)
    for mode in (pb.CHANNEL_MODE_EACH, pb.CHANNEL_MODE_MIX):
        items = [
            pb.Item(audio=file, channel_mode=mode),
            pb.Item(pcm=pcm, channel_mode=mode),
            pb.Item(pcm=floats, channel_mode=mode),
        ]
        verdicts = calls.DetectAnomaly(pb.DetectAnomalyRequest(model="halved", items=items, outputs=["error_map"])).items
        assert verdicts[0].windows
        assert verdicts[0] == verdicts[1] == verdicts[2]
    bad = pb.Item(pcm=pb.Pcm(sample_rate=10, data=b"12"))
    (error,) = calls.Embed(pb.EmbedRequest(model="halved", items=[bad])).items
    violation = BadRequest()
    assert error.error.details[0].Unpack(violation)
    assert violation.field_violations[0].field == "items[0].pcm.sample_rate"


def test_each_window_has_an_embedding(calls: Stub) -> None:
    sound = tone(0.2)  # 1,600 samples: two windows
    (item,) = calls.Embed(pb.EmbedRequest(model="halved", items=[pb.Item(audio=wav(sound))])).items
    assert [(span.start_sample, span.end_sample) for span in item.spans] == [(0, 1000), (600, 1600)]
    values = np.frombuffer(item.embedding.data, "<f4").reshape(tuple(item.embedding.shape))
    np.testing.assert_allclose(values, np.stack([sound[:1000], sound[600:]]) * 2, atol=2 / 32768)


@pytest.mark.parametrize(
    ("rpc", "request_", "code", "message", "field"),
    [
        (
            "Explain",
            pb.ExplainRequest(model="copied", items=[pb.Item()], method=pb.EXPLANATION_METHOD_CAM),
            "INVALID_ARGUMENT",
            "ask for ERROR_MAP or OCCLUSION",
            "method",
        ),
        (
            "DetectAnomaly",
            pb.DetectAnomalyRequest(model="halved", items=[pb.Item()], outputs=["heat"]),
            "INVALID_ARGUMENT",
            "no output 'heat'",
            "outputs[0]",
        ),
        (
            "Reconstruct",
            pb.ReconstructRequest(model="copied", items=[pb.Item()], format=pb.RECONSTRUCTION_FORMAT_WAV),
            "INVALID_ARGUMENT",
            "reconstructs no sound",
            "format",
        ),
        (
            "Reconstruct",
            pb.ReconstructRequest(model="halved", items=[pb.Item(pcm=pb.Pcm(sample_rate=8000, data=bytes(400_000)))]),
            "INVALID_ARGUMENT",
            "at most 1 MiB for a call",
            "items",
        ),
        ("Embed", pb.EmbedRequest(model="doubled", items=[pb.Item()]), "INVALID_ARGUMENT", "no output embedding", "model"),
    ],
)
def test_a_call_that_cannot_be_answered_names_the_field(
    calls: Stub, rpc: str, request_: object, code: str, message: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(calls, rpc)(request_)
    assert caught.value.code().name == code
    assert message in caught.value.details()
    if field:
        assert f"\x0a{chr(len(field))}{field}".encode() in dict(caught.value.trailing_metadata())["grpc-status-details-bin"]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_of_both_versions_describes_everything(running: Gateway, version: str) -> None:
    name = f"grpc.reflection.{version}.ServerReflection"
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="avizor.v1.InferenceService"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=name),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such"),
    ]
    with grpc.insecure_channel(running.address) as channel:
        ask = channel.stream_stream(
            f"/{name}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        services, contract, itself, nothing = ask(iter(questions))
    assert [service.name for service in services.list_services_response.service] == [
        "avizor.v1.InferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]
    assert len(contract.file_descriptor_response.file_descriptor_proto) == 5  # with google.protobuf and google.rpc
    assert f"reflection.{version}".encode() in itself.file_descriptor_response.file_descriptor_proto[0]
    assert nothing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
