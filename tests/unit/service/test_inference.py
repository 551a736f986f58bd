"""inference.py: items run together, and each gets its own part of every output."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.lookup_model import ITEMS, lookup_items, write_lookup
from support.sounds import SAMPLE_RATE, tone

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import DeadlineExceeded, EngineError, MediaError, UnknownOutput
from avizor_inference.repository.models import ModelRepository
from avizor_service.catalogue import Catalogue
from avizor_service.decoded_memory import DecodedMemory
from avizor_service.inference import BadItem, Inference, ItemResult
from avizor_service.media_decoders import open_media_decoders
from avizor_service.metrics import Metrics
from avizor_service.settings import Settings
from avizor_service.threads import open_threads


@pytest.fixture(scope="module")
def engine(models: Path) -> Iterator[EmbeddedEngine]:
    with EmbeddedEngine(models) as engine:
        yield engine


def sound(seconds: float, seed: int = 0, loudness: float = 1.0) -> pb.Item:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds, seed) * loudness, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return pb.Item(audio=buffer.getvalue())


def run(
    engine: EmbeddedEngine,
    models: Path,
    items: Sequence[pb.Item],
    outputs: Sequence[str],
    *,
    metrics: Metrics | None = None,
    timeout_s: float | None = None,
    name: str = "normal",
) -> list[ItemResult | BadItem]:
    model = Catalogue(ModelRepository(models), engine).open(name)
    settings, metrics = Settings(models, max_windows=20, decoders=1), metrics or Metrics()
    with open_threads(waiting=2) as threads, open_media_decoders(settings, metrics) as decoders:
        inference = Inference(engine, threads, metrics, decoders, DecodedMemory(settings.max_decoded_mib))
        return asyncio.run(inference.run(model, items, outputs, lambda: timeout_s))


def test_each_item_gets_its_windows_of_every_output(engine: EmbeddedEngine, models: Path) -> None:
    items = [sound(seconds, seed) for seed, seconds in enumerate((1.5, 0.1, 6.0, 0.512))]  # 17 windows: two batches
    results = run(engine, models, items, ["score", "embedding"])
    for result, windows in zip(results, (3, 1, 12, 1), strict=True):
        assert isinstance(result, ItemResult)
        rows = result.item.rows
        assert len(rows) == len(result.item.spans) == windows
        alone = engine.infer(InferRequest("normal", {"waveform": rows}, ["score", "embedding"]))
        for name, values in alone.items():
            np.testing.assert_allclose(result.outputs[name], values, rtol=1e-4, atol=1e-6)


def test_a_bad_item_keeps_its_place_and_the_others_their_results(engine: EmbeddedEngine, models: Path) -> None:
    bad, good = pb.Item(audio=b"no sound"), sound(1.5)
    first, second, third = run(engine, models, [bad, good, bad], ["score"])
    assert isinstance(second, ItemResult)
    assert second.outputs["score"].shape == (3, 1)
    for result in (first, third, *run(engine, models, [bad], ["score"])):
        assert isinstance(result, BadItem)
        assert isinstance(result.error, MediaError)


def test_the_engine_gets_the_time_that_is_left(engine: EmbeddedEngine, models: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        run(engine, models, [sound(1.5)], ["score"], timeout_s=1e-9)


def test_an_output_that_the_model_does_not_have_fails_the_whole_request(engine: EmbeddedEngine, models: Path) -> None:
    with pytest.raises(UnknownOutput):
        run(engine, models, [sound(1.5)], ["score", "probabilities"])


def test_recordings_beyond_full_scale_are_counted(engine: EmbeddedEngine, models: Path) -> None:
    metrics = Metrics()
    run(engine, models, [sound(1.0), sound(1.0, loudness=8)], ["score"], metrics=metrics)
    assert metrics.registry.get_sample_value("avizor_items_clipped_total", {"model": "normal"}) == 1


@pytest.fixture
def lookups(tmp_path: Path) -> Iterator[EmbeddedEngine]:
    write_lookup(tmp_path, "")
    with EmbeddedEngine(tmp_path) as engine:
        yield engine


def lookup(index: int) -> pb.Item:
    return pb.Item(tensor=pb.Tensor(dtype="int64", shape=[2], data=lookup_items(index).tobytes()))


def test_items_at_which_the_graph_fails_cost_the_others_nothing(lookups: EmbeddedEngine, tmp_path: Path) -> None:
    indices = [3, ITEMS, 5, 7, 9, 11, ITEMS + 1, 13, 15, 17, 19]  # two runs of at most 8 rows
    results = run(lookups, tmp_path, [*map(lookup, indices), pb.Item()], ["embedding"], name="lookup")
    for index, result in zip(indices, results, strict=False):
        if index < ITEMS:
            assert isinstance(result, ItemResult)
            assert result.outputs["embedding"].tolist() == [[10.0 * index]]
        else:
            assert isinstance(result, BadItem)
            assert isinstance(result.error, EngineError)
    assert isinstance(results[-1], BadItem)


def test_a_graph_that_fails_at_every_item_fails_the_call(lookups: EmbeddedEngine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="lookup"):
        run(lookups, tmp_path, [lookup(ITEMS), lookup(ITEMS)], ["embedding"], name="lookup")


def test_items_that_cannot_be_served_are_counted_by_model_and_kind_of_reason(engine: EmbeddedEngine, models: Path) -> None:
    metrics = Metrics()
    items = [sound(1), pb.Item(audio=b"no sound"), pb.Item(audio=b""), pb.Item(image=b"\x89PNG"), sound(1)]
    results = run(engine, models, items, ["score"], metrics=metrics)
    assert [isinstance(result, BadItem) for result in results] == [False, True, True, True, False]

    def counted(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"model": "normal", **labels})

    assert counted("avizor_items_total") == 5
    assert counted("avizor_item_errors_total", reason="media") == 2
    assert counted("avizor_item_errors_total", reason="request") == 1


def test_an_item_at_which_the_graph_fails_is_counted(lookups: EmbeddedEngine, tmp_path: Path) -> None:
    metrics = Metrics()
    run(lookups, tmp_path, [lookup(0), lookup(ITEMS), lookup(1)], ["embedding"], metrics=metrics, name="lookup")
    assert metrics.registry.get_sample_value("avizor_item_errors_total", {"model": "lookup", "reason": "engine"}) == 1
