"""Every engine has the same behaviour. To test a new engine, add it as a parameter of the fixture."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from support.environment import device, on_gpu
from support.tritons import serving_triton

from avizor_inference.anomaly.engine_calibration import find_calibration
from avizor_inference.anomaly.p_values import TIE
from avizor_inference.arrays import Array
from avizor_inference.engines.base import (
    Engine,
    InferRequest,
    ModelSpec,
    check_request,
    check_same_digest,
    engine_kind,
)
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.engines.infer_rows import infer_rows
from avizor_inference.engines.open_engine import open_engine
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.errors import (
    BatchTooLarge,
    DeadlineExceeded,
    EngineError,
    EngineUnavailable,
    InvalidInput,
    ModelNotFound,
    SettingsError,
    UnknownOutput,
    VersionRefused,
)
from avizor_inference.repository.calibration import EngineKind
from avizor_inference.repository.models import ModelRepository


class Wrapper(Engine):
    """The least that an engine around another one has to define."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner

    def spec(self, model: str, version: int | None = None) -> ModelSpec:
        return self._inner.spec(model, version)

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        return self._inner.submit(request)

    def ready(self, timeout_s: float = 1.0) -> bool:
        return self._inner.ready(timeout_s)

    def close(self) -> None:
        self._inner.close()


class OnALoop(Wrapper):
    """Asks the engine from an event loop, as the gateway does."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def submit(self, request: InferRequest) -> Future[dict[str, Array]]:
        check_request(self.spec(request.model, request.version), request)  # what is wrong in itself raises here
        return asyncio.run_coroutine_threadsafe(self._inner.infer_on_loop(request), self._loop)

    def close(self) -> None:
        super().close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def wrapped(engine: Engine, how: str) -> Engine:
    return OnALoop(engine) if how == "on a loop" else Wrapper(engine) if how == "wrapped" else engine


@pytest.fixture(
    params=[
        "embedded",
        "embedded, wrapped",
        "triton",
        "triton, on a loop",
        "batching",
        "batching, on a loop",
        "openvino",
        "openvino batching",
    ]
)
def engine(request: pytest.FixtureRequest, models: Path) -> Iterator[Engine]:
    name, _, how = request.param.partition(", ")
    if name == "triton":
        tested: Engine = TritonEngine(request.getfixturevalue("triton_address"))
    elif name == "batching":
        tested = open_engine("ort", ModelRepository(models), device=device(), batching=True)
    elif name.startswith("openvino"):
        tested = open_engine("openvino", ModelRepository(models), batching=name.endswith("batching"))
    else:
        tested = EmbeddedEngine(models, device=device())
    with wrapped(tested, how) as opened:
        yield opened


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 1)).astype(np.uint8)


def probabilities(engine: Engine, items: np.ndarray) -> np.ndarray:
    return engine.infer(InferRequest("digits", {"image": items}, ["probabilities"]))["probabilities"]


def test_spec_names_tensors_and_batch(engine: Engine) -> None:
    spec = engine.spec("digits")
    assert (spec.name, spec.version, spec.max_batch_size) == ("digits", 1, 16)
    assert {name: (t.dtype, t.item_shape) for name, t in spec.inputs.items()} == {"image": ("uint8", (32, 32, 1))}
    assert spec.outputs["probabilities"].item_shape == (10,)
    assert spec.outputs["activations"].item_shape == (16, 5, 5)


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_answers_are_the_graphs(engine: Engine, models: Path, batch: int) -> None:
    """Against onnx's own reference evaluator, which shares no code with any engine."""
    items = images(batch)
    answers = engine.infer(InferRequest("digits", {"image": items}, ["probabilities", "embedding"]))
    reference = ReferenceEvaluator(onnx.load(models / "digits" / "1" / "model.onnx"))
    expected = reference.run(["probabilities", "embedding"], {"image": items})
    assert list(answers) == ["probabilities", "embedding"]
    for got, wanted in zip(answers.values(), expected, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_items_of_a_batch_do_not_touch_each_other(engine: Engine) -> None:
    items = images(5)
    together = probabilities(engine, items)
    alone = [probabilities(engine, items[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)


def test_outputs_come_in_the_order_asked_for_and_no_others(engine: Engine) -> None:
    answers = engine.infer(InferRequest("normal", {"waveform": np.zeros((2, 4096), np.float32)}, ["embedding", "score"]))
    assert list(answers) == ["embedding", "score"]
    assert answers["score"].shape == (2, 1)


def test_score_is_the_mean_of_the_error_map(engine: Engine) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 4096)).astype(np.float32)
    answers = engine.infer(InferRequest("normal", {"waveform": sound}, ["score", "error_map", "reconstruction"]))
    np.testing.assert_allclose(answers["score"][:, 0], answers["error_map"].mean(axis=(1, 2, 3)), rtol=1e-5)
    assert answers["reconstruction"].shape == answers["error_map"].shape


def test_an_engine_says_what_computes_a_model_and_in_which_precision(
    engine: Engine, models: Path, request: pytest.FixtureRequest
) -> None:
    onnxruntime = EngineKind("onnxruntime-cuda" if on_gpu() else "onnxruntime-cpu", "fp32")
    expected = EngineKind("openvino", "fp32") if "openvino" in request.node.name else onnxruntime
    repository = ModelRepository(models)
    assert [engine_kind(engine.spec(name), repository.version(name)) for name in ("digits", "normal")] == [expected] * 2


def test_the_probe_items_of_each_model_agree(engine: Engine, models: Path) -> None:
    """The outputs of export, which ran the graph in another process and maybe on other hardware."""
    repository = ModelRepository(models)
    for name in repository.names():
        probe = repository.version(name).probe()
        assert probe is not None
        (input_name,) = engine.spec(name).inputs
        answers = infer_rows(engine, InferRequest(name, {input_name: probe.items}, list(probe.outputs)))
        assert list(probe.outputs) == list(engine.spec(name).outputs)
        for output, expected in probe.outputs.items():
            np.testing.assert_allclose(answers[output], expected, rtol=1e-4, atol=1e-4, err_msg=f"{name} {output}")


def test_a_calibration_of_export_is_for_every_engine_that_agrees(engine: Engine, models: Path) -> None:
    version = ModelRepository(models).version("normal")
    assert find_calibration(engine, version, "--engine ort") == (version.calibrations()[0], TIE)
    assert find_calibration(engine, ModelRepository(models).version("digits"), "--engine ort") is None


def test_missing_values_of_a_row_are_filled(engine: Engine) -> None:
    """NaN reaches the graph, which fills it by the description; an unknown category is not an error."""
    rows = np.array([[np.nan, np.nan, 1], [50, 12, 1], [50, 12, np.nan], [50, 12, 7]], np.float32)
    answers = engine.infer(InferRequest("transfers", {"record": rows}, ["reconstruction", "score"]))
    filled = answers["reconstruction"]
    assert np.isfinite(answers["score"]).all()
    np.testing.assert_allclose(filled[0], filled[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(filled[2], filled[3], rtol=1e-5, atol=1e-5)
    assert np.abs(filled[1] - filled[2]).max() > 1e-3


def test_many_threads_get_their_own_answers(engine: Engine) -> None:
    items = images(8)
    expected = probabilities(engine, items)
    wrong: list[int] = []

    def ask(index: int) -> None:
        for _ in range(20):
            answer = probabilities(engine, items[index : index + 1])[0]
            if not np.allclose(answer, expected[index], atol=1e-5):
                wrong.append(index)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"picture": images(1)}, "no input 'picture'; it takes image"),
        ({"image": images(1), "extra": images(1)}, "no input 'extra'"),
        ({}, "input 'image' of model 'digits' is missing"),
        ({"image": images(1).astype(np.float32)}, "has dtype float32; give uint8[batch, 32, 32, 1]"),
        ({"image": images(1)[0]}, "has shape [32, 32, 1]; give uint8[batch, 32, 32, 1]"),
        ({"image": images(1)[:, :31]}, "has shape [1, 31, 32, 1]"),
        ({"image": images(0)}, "holds no items"),
        ({"image": [[1]]}, "is a list; give a numpy array"),
    ],
)
def test_wrong_inputs_are_named(engine: Engine, inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        engine.infer(InferRequest("digits", inputs, ["probabilities"]))
    assert message in str(caught.value)
    assert caught.value.field in {"image", "picture", "extra"}


@pytest.mark.parametrize(
    ("name", "batching"), [("ort", False), ("ort", True), ("openvino", False), ("openvino", True), ("triton", False)]
)
def test_a_request_at_which_a_run_fails_costs_no_other_one(
    lookup: Path, name: str, batching: bool, request: pytest.FixtureRequest
) -> None:
    """Some graphs fail at some values. Requests that come at once may share a run."""
    with contextlib.ExitStack() as stack:
        if name == "triton":
            opened: Engine = TritonEngine(stack.enter_context(serving_triton(request, lookup)))
        else:
            opened = open_engine(name, ModelRepository(lookup), batching=batching, device=device())
        engine = stack.enter_context(opened)
        asked = [InferRequest("lookup", {"input": np.array([[index]])}, ["probabilities"]) for index in range(5)]
        alone = [engine.infer(each)["probabilities"] for each in asked]
        bad = InferRequest("lookup", {"input": np.array([[99]])}, ["probabilities"])
        futures = [engine.submit(each) for each in (*asked[:2], bad, *asked[2:])]
        failed = futures.pop(2)
        for future, expected in zip(futures, alone, strict=True):
            np.testing.assert_allclose(future.result(60)["probabilities"], expected, rtol=1e-5)
        if name != "openvino" and not on_gpu():  # OpenVINO takes zeros for what is not in the table
            with pytest.raises(EngineError, match="lookup"):
                failed.result(60)


def test_unknown_output_is_named(engine: Engine) -> None:
    with pytest.raises(UnknownOutput, match="no output 'logits'; it has probabilities, embedding, activations"):
        engine.infer(InferRequest("digits", {"image": images(1)}, ["logits"]))
    with pytest.raises(UnknownOutput, match="no output was requested"):
        engine.infer(InferRequest("digits", {"image": images(1)}, []))


def test_oversize_batch_is_refused(engine: Engine) -> None:
    with pytest.raises(BatchTooLarge, match="a batch of 17 is over the 16"):
        engine.infer(InferRequest("digits", {"image": images(17)}, ["probabilities"]))


def test_unknown_model_and_version(engine: Engine) -> None:
    with pytest.raises(ModelNotFound, match="no model named 'nothing'"):
        engine.infer(InferRequest("nothing", {"image": images(1)}, ["probabilities"]))
    with pytest.raises(ModelNotFound, match="no version 7"):
        engine.spec("digits", 7)


def test_deadline(engine: Engine) -> None:
    with pytest.raises(DeadlineExceeded):
        engine.infer(InferRequest("digits", {"image": images(16)}, ["probabilities"], timeout_s=1e-9))
    assert engine.infer(InferRequest("digits", {"image": images(1)}, ["probabilities"], timeout_s=30.0))


def test_several_requests_in_flight(engine: Engine) -> None:
    items = images(12)
    expected = probabilities(engine, items)
    futures = [engine.submit(InferRequest("digits", {"image": items[i : i + 1]}, ["probabilities"])) for i in range(12)]
    answers = np.concatenate([future.result(timeout=30)["probabilities"] for future in futures])
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    with pytest.raises(BatchTooLarge):
        engine.submit(InferRequest("digits", {"image": images(17)}, ["probabilities"]))


def test_what_an_engine_calls_light_has_the_answer_of_any_other_request(engine: Engine) -> None:
    items, wanted = images(1), probabilities(engine, images(1))
    for _ in range(3):
        answers = engine.infer_light([InferRequest("digits", {"image": items}, ["probabilities"])])
        assert answers is None or np.allclose(answers[0]["probabilities"], wanted, atol=1e-6)
    for wrong in ({"image": items.astype(np.float32)}, {"picture": items}, {}):
        assert engine.infer_light([InferRequest("digits", wrong, ["probabilities"])]) is None


def test_an_engine_that_serves_another_model_is_noticed(engine: Engine, models: Path) -> None:
    digits = ModelRepository(models).version("digits")
    check_same_digest(engine.spec("digits"), digits)
    check_same_digest(replace(engine.spec("digits"), sha256=""), digits)
    with pytest.raises(VersionRefused, match="the engine serves another 'digits' version 1"):
        check_same_digest(engine.spec("normal"), digits)
    with pytest.raises(VersionRefused, match="with the inputs waveform, and its manifest has image"):
        check_same_digest(replace(engine.spec("normal"), sha256=""), digits)  # without a digest its inputs tell


@pytest.mark.parametrize("rows", [1, 16, 17, 100])
def test_any_number_of_rows_in_chunks(engine: Engine, rows: int) -> None:
    items = images(rows)
    answers = infer_rows(engine, InferRequest("digits", {"image": items}, ["probabilities", "embedding"]))
    alone = engine.infer(InferRequest("digits", {"image": items[-1:]}, ["probabilities", "embedding"]))
    assert answers["probabilities"].shape == (rows, 10)
    for name, values in alone.items():
        np.testing.assert_allclose(answers[name][-1:], values, rtol=1e-5, atol=1e-5)


def test_ready_until_closed(engine: Engine) -> None:
    assert engine.ready()
    engine.close()
    assert not engine.ready()


def test_closed_engine_is_unavailable(engine: Engine) -> None:
    engine.infer(InferRequest("digits", {"image": images(1)}, ["probabilities"]))
    engine.close()
    with pytest.raises(EngineUnavailable):
        engine.infer(InferRequest("digits", {"image": images(1)}, ["probabilities"]))


def test_engines_agree(models: Path, triton_address: str) -> None:
    """Every model, every output, on the same random items."""
    rng = np.random.default_rng(3)
    repository = ModelRepository(models)
    with open_engine("ort", repository) as embedded, open_engine(f"triton://{triton_address}", repository) as triton:
        for name in repository.names():
            spec = embedded.spec(name)
            assert triton.spec(name).sha256 == spec.sha256
            assert {tensor.item_shape for tensor in triton.spec(name).outputs.values()} == {
                tensor.item_shape for tensor in spec.outputs.values()
            }
            ((input_name, tensor),) = spec.inputs.items()
            values = rng.uniform(-0.9, 0.9, (16, *tensor.item_shape))
            items = (values * 100 + 100 if tensor.dtype == "uint8" else values).astype(tensor.dtype)
            outputs = list(spec.outputs)
            one, other = (engine.infer(InferRequest(name, {input_name: items}, outputs)) for engine in (embedded, triton))
            for output in outputs:
                np.testing.assert_allclose(one[output], other[output], rtol=1e-5, atol=1e-5, err_msg=f"{name} {output}")


@pytest.mark.parametrize("name", ["tensorrt", "http://host:8000", "triton://", "triton://host:port", "triton://::1"])
def test_unknown_engines_are_refused(models: Path, name: str) -> None:
    message = (
        "is not a server address; write triton://HOST:PORT"
        if "triton" in name
        else "not known; use 'ort', 'openvino', 'openvino:bf16', 'tuned', or 'triton://HOST:8001'"
    )
    with pytest.raises(SettingsError, match=message):
        open_engine(name, ModelRepository(models))


def test_a_server_that_is_not_there() -> None:
    with TritonEngine("127.0.0.1:1") as engine:
        assert not engine.ready(timeout_s=0.2)
        with pytest.raises(EngineUnavailable, match="is away"):
            engine.infer(InferRequest("digits", {"image": images(1)}, ["probabilities"]))
