"""The gateway returns verdicts, and its metrics count them."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile
from integration.gateway import Gateway, Stub, normal, odd, wav
from support.sounds import SAMPLE_RATE, tone

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.base import InferRequest
from avizor_inference.engines.embedded import EmbeddedEngine


def row(**values: float | str | None) -> pb.Item:
    item = pb.Item(source="a")
    item.row.SetInParent()  # a row even if it is without any value
    item.row.update(values)
    return item


def test_a_row_is_read_by_the_names_of_its_columns(stub: Stub, models: Path) -> None:
    items = [row(country="FR", amount=120.5, hour=3), row(amount=None, country="XX"), row(hour=True)]
    answer = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="transfers", items=items))
    records = np.array([[120.5, 3, 1], [np.nan] * 3, [np.nan, 1, np.nan]], np.float32)
    with EmbeddedEngine(models) as engine:
        scores = engine.infer(InferRequest("transfers", {"record": records}, ["score"]))["score"][:, 0]
    assert [item.score for item in answer.items] == pytest.approx(scores.tolist(), rel=1e-4)
    # The raw tensor is the same row, NaN for what is missing.
    raw = pb.Item(source="a", tensor=pb.Tensor(dtype="float32", shape=[3], data=records[1].tobytes()))
    (verdict,) = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="transfers", items=[raw])).items
    assert verdict.score == pytest.approx(answer.items[1].score, rel=1e-4)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (row(iban="x"), "no column 'iban'; it takes amount, hour, country"),
        (row(amount="much"), "column 'amount' holds 'much'"),
        (row(hour=1e39), "column 'hour' holds 1e+39, which float32 cannot hold"),
        (row(), "the row holds no value; give amount, hour or country"),
        (row(amount=None), "the row holds no value"),
        (pb.Item(image=b""), "the model takes row"),
    ],
)
def test_a_row_that_does_not_fit_does_not_cost_the_others_their_answer(stub: Stub, item: pb.Item, says: str) -> None:
    bad, good = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="transfers", items=[item, row(hour=1)])).items
    assert says in bad.error.message
    assert good.score > 0


def test_a_number_whose_square_no_float32_holds_is_an_anomaly(stub: Stub) -> None:
    (verdict,) = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="transfers", items=[row(hour=1e25)])).items
    assert (verdict.score, verdict.is_anomaly) == (math.inf, True)


def test_the_metrics_count_verdicts_by_source(served: Gateway, stub: Stub) -> None:
    before = served.metrics()
    items = [pb.Item(source="a", audio=normal()), pb.Item(source="a", audio=odd()), pb.Item(source="who?", audio=odd())]
    answer = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=items))
    assert answer.alpha == pytest.approx(0.05)
    calm, first, second = answer.items
    assert not calm.is_anomaly
    assert first.is_anomaly
    assert calm.judged_by == "a"
    # more unusual than all 30 of its own: the 60 of all sources go on
    assert (first.judged_by, second.judged_by) == ("*", "*")
    assert (first.p_value, second.p_value) == (pytest.approx(1 / 61), pytest.approx(1 / 61))
    scores = [window.score for window in first.windows]
    assert np.mean(scores) < first.score < max(scores)
    after = served.metrics()

    def counted(name: str, source: str) -> float:
        series = f'{name}{{model="normal",source="{source}"}}'
        return after[series] - before[series]

    assert (counted("avizor_items_scored_total", "a"), counted("avizor_anomalies_total", "a")) == (2, 1)
    assert (counted("avizor_items_scored_total", "other"), counted("avizor_anomalies_total", "other")) == (1, 1)
    assert after['avizor_alert_alpha{model="normal"}'] == 0.05
    assert after['avizor_items_scored_total{model="normal",source="c"}'] == 0
    assert not any("who?" in series for series in after)
    created = after['avizor_calibration_created_timestamp_seconds{model="normal"}']
    assert time.time() - 3600 < created < time.time()
    assert after[f'avizor_calibration_info{{calibration_id="{answer.calibration_id}",model="normal"}}'] == 1
    ok = 'avizor_requests_total{code="OK",model="normal",rpc="DetectAnomaly"}'
    assert after[ok] == before.get(ok, 0) + 1
    assert [value for series, value in after.items() if series.startswith("avizor_engine_up")] == [1]
    served.wait_until_idle()


def test_a_recording_shorter_than_a_window_is_not_judged_and_says_so(served: Gateway, stub: Stub) -> None:
    before = served.metrics()
    short, whole = pb.Item(source="a", audio=wav(tone(0.1))), pb.Item(source="a", audio=normal())
    first, second = stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=[short, whole])).items
    assert first.error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert "shorter than the model's window" in first.error.message
    assert "has 0 such recordings; alpha 0.05 needs 19" in first.error.message
    assert second.p_value > 0.05
    after = served.metrics()
    for name in ("scored", "not_judged"):
        series = f'avizor_items_{name}_total{{model="normal",source="a"}}'
        assert after[series] == before[series] + 1


def test_all_channels_of_a_recording_are_one_item(stub: Stub) -> None:
    two = np.stack([tone(3 * 4096 / SAMPLE_RATE, seed=100)] * 2, axis=1)
    one, both = stub.DetectAnomaly(
        pb.DetectAnomalyRequest(model="normal", items=[pb.Item(source="a", audio=wav(each)) for each in (two[:, 0], two)])
    ).items
    assert len(both.windows) == 2 * len(one.windows)
    assert both.score == pytest.approx(one.score)
    assert both.p_value == one.p_value


def test_the_callers_alpha_decides_the_answer_and_not_the_count(served: Gateway, stub: Stub) -> None:
    before = served.metrics()['avizor_anomalies_total{model="normal",source="a"}']
    request = pb.DetectAnomalyRequest(model="normal", alpha=0.02, items=[pb.Item(source="a", audio=odd())])
    (verdict,) = stub.DetectAnomaly(request).items
    assert verdict.is_anomaly  # 30 recordings of its own do not support 0.02; all 60 do
    assert verdict.judged_by == "*"
    assert served.metrics()['avizor_anomalies_total{model="normal",source="a"}'] == before + 1


def test_recordings_beyond_full_scale_are_counted(served: Gateway, stub: Stub) -> None:
    series, buffer = 'avizor_items_clipped_total{model="normal"}', io.BytesIO()
    soundfile.write(buffer, tone(1.0) * 8, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    before = served.metrics().get(series, 0)
    items = [pb.Item(audio=normal()), pb.Item(audio=buffer.getvalue())]
    assert all(item.p_value > 0 for item in stub.DetectAnomaly(pb.DetectAnomalyRequest(model="normal", items=items)).items)
    assert served.metrics()[series] == before + 1
