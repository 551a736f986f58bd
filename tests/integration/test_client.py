"""`avizor_client` against a real gateway: what it returns is what the stubs return, from threads and from an event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from integration.gateway import IMAGE, Gateway, gateway, normal, odd, png, wav
from integration.listeners import calm, sixteen_bits
from support.sounds import SAMPLE_RATE, tone

from avizor.v1 import inference_pb2 as pb
from avizor_client import (
    AsyncClient,
    Client,
    FailedPrecondition,
    InputError,
    InvalidArgument,
    Item,
    ItemFailed,
    MonitorSettings,
    NotFound,
    Occlusion,
    Pcm,
    Unauthenticated,
    Unavailable,
    Verdict,
)


@pytest.fixture(scope="module")
def running(models: Path) -> Iterator[Gateway]:
    with gateway(models, "--alpha", 0.05, "--max-items", 64) as running:
        yield running


class Everything:
    """Calls a method of Client and of AsyncClient, and checks that both return the same."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            async def in_a_loop() -> Any:
                async with AsyncClient(self._address) as client:
                    return await getattr(client, method)(*arguments, **options)

            with Client(self._address) as client:
                answer = getattr(client, method)(*arguments, **options)
            assert without_ids(asyncio.run(in_a_loop())) == without_ids(answer)
            return answer

        return call


def without_ids(answer: Any) -> str:
    """What both clients have to agree about: request ids are their own, and numbers may differ in the last digit."""
    fields = answer.items if hasattr(answer, "request_ids") else answer
    with np.printoptions(precision=3):
        return repr(fields)


@pytest.fixture
def client(running: Gateway) -> Everything:
    return Everything(running.address)


def test_models_are_described(client: Everything) -> None:
    models = {model.name: model for model in client.models()}
    assert sorted(models) == ["digits", "kinds", "normal", "transfers"]
    digits = client.model("digits")
    assert digits == models["digits"]
    assert (digits.task, digits.input_kind, digits.input["height"], digits.versions) == ("classify", "image", 32, (1,))
    assert digits.labels == tuple("0123456789")
    assert {output.name: output.shape for output in digits.outputs}["probabilities"] == (10,)
    calibration = models["normal"].calibrations[0]
    assert (dict(calibration.recordings), calibration.created.tzinfo is not None) == ({"a": 30, "b": 30}, True)


def test_a_picture_is_classified_as_path_bytes_and_array(running: Gateway, client: Everything, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 1)).astype(np.uint8)
    (tmp_path / "digit.png").write_bytes(png(pixels[..., 0]))
    np.save(tmp_path / "digit.npy", pixels)
    path = tmp_path / "digit.png"
    items = [path, str(path), path.read_bytes(), pixels, tmp_path / "digit.npy"]
    answer = client.classify("digits", items, top_k=3, outputs=["embedding"])
    with grpc.insecure_channel(running.address) as channel:
        request = pb.ClassifyRequest(model="digits", items=[pb.Item(image=path.read_bytes())], top_k=3)
        (expected,) = running.stub(channel).Classify(request).items
    assert (answer.model, answer.version) == ("digits", 1)
    for item in answer.items:
        assert [each.label for each in item.classes] == [each.label for each in expected.classes]
        assert [each.probability for each in item.classes] == pytest.approx([each.probability for each in expected.classes])
        assert item.outputs["embedding"].shape[0] == 1


def test_sound_is_judged_as_file_and_as_samples(client: Everything, tmp_path: Path) -> None:
    samples = sixteen_bits(tone(3 * 4096 / SAMPLE_RATE, seed=500))
    file = wav(samples)
    as_floats = (samples / 32768).astype(np.float32)
    contents = [
        file,
        Pcm(samples, SAMPLE_RATE),
        Pcm(as_floats, SAMPLE_RATE),
        Pcm(samples.tobytes(), SAMPLE_RATE),
        Item(Pcm(np.stack([samples, samples], axis=1), SAMPLE_RATE), mix_channels=True),
    ]
    answer = client.detect("normal", contents, source="a", alpha=0.1)
    first: Verdict = answer.items[0]
    assert (first.judged_by, first.alpha, first.confidence) == ("a", 0.1, 0)
    assert first.calibration_id
    for verdict in answer.items:
        assert verdict.score == pytest.approx(first.score, rel=1e-4)
        assert [window.span.end_sample for window in verdict.windows] == [4096, 8192, 12288]


def test_the_source_of_an_item_goes_before_that_of_the_call(client: Everything) -> None:
    answer = client.detect("normal", [normal(), Item(normal(), source="b")], source="a")
    assert [verdict.judged_by for verdict in answer.items] == ["a", "b"]


def test_rows_are_judged(client: Everything) -> None:
    row = {"amount": 70.0, "hour": 12, "country": "ES"}
    usual, missing = client.detect("transfers", [row, row | {"amount": None}]).items
    assert 0 < usual.p_value <= 1
    assert missing.score != usual.score


def test_one_bad_item_does_not_cost_the_others_their_answer(client: Everything) -> None:
    good, bad, other = client.classify("kinds", [normal(), b"no sound", normal()]).items
    assert good.classes == other.classes
    assert isinstance(bad, ItemFailed)
    assert (bad.code, bad.field) == ("INVALID_ARGUMENT", "")
    assert "not an audio file" in bad.message
    with pytest.raises(ItemFailed, match="not an audio file"):
        client.classify("kinds", [b"no sound"]).only()


def test_more_items_than_a_request_may_hold_are_answered_in_their_order(client: Everything) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (150, 32, 32, 1)).astype(np.uint8)
    answer = client.embed("digits", list(pixels))
    assert len(answer.request_ids) == len(set(answer.request_ids)) == 3
    singles = client.embed("digits", [pixels[0], pixels[149]]).items
    for number, single in zip((0, 149), singles, strict=True):
        np.testing.assert_allclose(answer.items[number].vectors, single.vectors, atol=1e-5)


def test_large_items_are_sent_in_requests_of_bounded_size(client: Everything) -> None:
    five_mib = np.zeros(5 << 19, np.int16)
    answer = client.detect("normal", [Pcm(five_mib, 1_000_000 // 2)] * 3, source="a")
    assert len(answer.request_ids) == 3


def test_a_call_without_items_is_refused_by_the_gateway(client: Everything) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.classify("digits", [])
    assert caught.value.field == "items"


def test_an_autoencoder_returns_tensor_or_a_file(client: Everything) -> None:
    item = client.reconstruct("normal", [normal()]).only()
    assert item.tensor.shape[0] == len(item.spans) == 3
    with pytest.raises(InvalidArgument) as caught:
        client.reconstruct("normal", [normal()], format="wav")
    assert caught.value.field == "format"


def test_a_map_has_axes_and_a_picture(client: Everything) -> None:
    hiding = Occlusion(size=[0.1], stride=[0.05])
    items = [odd(), normal()]
    answer = client.explain("kinds", items, method="occlusion", window=1, occlusion=hiding, format="both")
    assert len(answer.request_ids) == 2
    for item in answer.items:
        assert (item.method, item.window, item.x.unit) == ("occlusion", 1, "seconds")
        assert item.map.shape == (len(item.y.edges) - 1, len(item.x.edges) - 1)
        assert item.png.startswith(b"\x89PNG")
        assert item.rows > item.map.size / 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Path("absent.wav"), "absent.wav: cannot be read"),
        (Pcm(np.zeros(9), 8000), "samples are float64"),
        (np.array(["text"]), "not a tensor"),
        ({"column": object()}, "a row holds something else"),
        ("null\0character.wav", "null\0character.wav: cannot be read"),
        ([[1.0, 2.0], [3.0]], "the item is no array"),
        (Pcm(np.zeros(9, np.float32), 8000.5), "sample_rate is 8000.5, and channels 1; give whole numbers"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent_is_an_error_before_the_call(client: Everything, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        client.classify("kinds", [content])


@pytest.mark.parametrize("items", ["monday.wav", b"RIFF", Path("monday.wav"), {"column": 1}, Item(b"RIFF")])
def test_one_item_in_place_of_several_is_an_error(client: Everything, items: Any) -> None:
    with pytest.raises(InputError, match=r"are a single \w+; give a list, \[item\]"):
        client.classify("kinds", items)


def test_a_file_for_a_model_of_tables_says_what_to_give(client: Everything, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match="give its rows, as dictionaries"):
        client.detect("transfers", [tmp_path / "rows.csv"])


def test_an_error_names_its_field_and_has_the_request_id(client: Everything) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.classify("digits", [IMAGE.image], outputs=["heat"])
    error = caught.value
    assert (error.code, error.field, error.retry_after_s) == ("INVALID_ARGUMENT", "outputs[0]", None)
    assert error.request_id
    with pytest.raises(NotFound):
        client.classify("nothing", [IMAGE.image])
    with pytest.raises(FailedPrecondition):
        client.detect("normal", [normal()], alpha=1e-9)


@pytest.mark.usefixtures("tried_again_at_once")
def test_nobody_there_is_unavailable() -> None:
    with Client("127.0.0.1:1", timeout_s=20) as client, pytest.raises(Unavailable):
        client.models()


def test_a_token_file_is_read_again_when_it_changes(models: Path, tmp_path: Path) -> None:
    tokens, mine = tmp_path / "tokens", tmp_path / "token"
    tokens.write_text('"Bearer 0a1b" "someone";\n')
    mine.write_text("ffff\n")
    with gateway(models, "--alpha", 0.05, "--tokens", tokens) as running, Client(running.address, token_file=mine) as client:
        with pytest.raises(Unauthenticated):
            client.models()
        mine.write_text('# renewed\n"Bearer 0a1b" "someone";\n')
        assert len(client.models()) == 4
        mine.write_text("")  # half written
        assert len(client.models()) == 4
        mine.unlink()
        assert len(client.models()) == 4
        with Client(running.address, token="0a1b") as other:
            assert len(other.models()) == 4


LISTENING = MonitorSettings(
    sample_rate=SAMPLE_RATE, classifier="kinds", detector="normal", source="a", top_k=1, false_alarms_per_hour=20
)


def cut(samples: np.ndarray, size: int = 5_001) -> Iterator[bytes]:
    data = sixteen_bits(samples).tobytes()
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


def test_the_call_of_a_stream_is_let_go_of_when_the_stream_is_left(running: Gateway) -> None:
    """At the end of Python, deleting it may wait for ever for a thread of gRPC that was stopped with its lock."""
    with Client(running.address) as client:
        with client.monitor(cut(calm(1.0)), LISTENING) as stream:
            call = weakref.ref(stream._call)
            assert len(list(stream)) > 0
        assert call() is None
        with client.monitor(cut(calm(1.0)), LISTENING) as stream:
            pass
        with pytest.raises(InputError, match="the stream has been left"):
            list(stream)


def test_a_stream_has_the_windows_of_the_same_sound_in_a_file(running: Gateway) -> None:
    sound = calm(2.3)
    with Client(running.address) as client:
        expected = client.detect("normal", [wav(sixteen_bits(sound))], source="a").only()
        with client.monitor(cut(sound), LISTENING) as stream:
            assert stream.started.judged_by == "a"
            windows = list(stream)
        with client.monitor([sixteen_bits(sound)], LISTENING) as stream:  # an array in place of bytes
            assert len(list(stream)) == len(windows)
    assert [window.span for window in windows] == [window.span for window in expected.windows]
    assert [window.score for window in windows] == pytest.approx([window.score for window in expected.windows], rel=1e-4)
    assert all(len(window.classes) == 1 for window in windows)
    assert stream.ended is not None
    assert (stream.ended.windows, stream.ended.samples) == (len(windows), len(sound))


def test_a_stream_in_an_event_loop_takes_chunks_of_either_kind(running: Gateway) -> None:
    async def one_by_one() -> AsyncIterator[bytes]:
        for chunk in cut(calm(2.3)):
            yield chunk

    async def listen() -> list[int]:
        counts = []
        async with AsyncClient(running.address) as client:
            for chunks in (one_by_one(), cut(calm(2.3))):
                async with client.monitor(chunks, LISTENING) as stream:
                    counts.append(len([window async for window in stream]))
                    assert stream.ended is not None
        return counts

    first, second = asyncio.run(listen())
    assert first == second > 0


def test_a_microphone_that_is_silent_does_not_keep_a_program_that_listens_no_more(running: Gateway) -> None:
    script = (
        "import asyncio, os, sys\n"
        "from avizor_client import AsyncClient, MonitorSettings\n"
        "read, write = os.pipe()\n"
        "async def listen():\n"
        "    chunks = iter(lambda: os.read(read, 4096), b'')\n"
        "    async with AsyncClient(sys.argv[1]) as client, client.monitor(chunks, MonitorSettings(8000, 'kinds')) as stream:\n"
        "        await asyncio.sleep(0.1)\n"
        "        print(stream.started.classifier_version)\n"
        "asyncio.run(listen())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, running.address], capture_output=True, text=True, timeout=30, check=True
    )
    assert (ended.stdout, ended.stderr) == ("1\n", "")


def test_an_error_of_the_chunks_reaches_the_listener(running: Gateway) -> None:
    def broken() -> Iterator[bytes]:
        yield from cut(calm(1.0))
        raise RuntimeError("the microphone is gone")

    async def listen() -> None:
        async with AsyncClient(running.address) as client, client.monitor(broken(), LISTENING) as stream:
            async for _ in stream:
                pass

    with pytest.raises(RuntimeError, match="the microphone is gone"):
        asyncio.run(listen())
    with (
        Client(running.address) as client,
        pytest.raises(RuntimeError, match="the microphone is gone"),
        client.monitor(broken(), LISTENING) as stream,
    ):
        list(stream)


def test_a_stream_that_is_refused_says_why(running: Gateway) -> None:
    with (
        Client(running.address) as client,
        pytest.raises(FailedPrecondition) as caught,
        client.monitor(cut(calm(1.0)), MonitorSettings(SAMPLE_RATE, detector="normal", false_alarms_per_hour=1e-9)),
    ):
        pass
    assert caught.value.request_id


def test_a_client_needs_no_other_package_of_avizor(running: Gateway) -> None:
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"avizor_inference", "avizor_service", "avizor_cli", "onnxruntime", "soundfile", "PIL"}:
            raise ImportError(f"{name} was asked for")
sys.meta_path.insert(0, Refuse())
from avizor_client import Client
with Client(sys.argv[1]) as client:
    print(*(model.name for model in client.models()))
"""
    result = subprocess.run(
        [sys.executable, "-c", code, running.address], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.split() == ["digits", "kinds", "normal", "transfers"], result.stderr
