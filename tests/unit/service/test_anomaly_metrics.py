"""anomaly_metrics.py and metric_labels.py: what is counted of verdicts, under which source."""

from __future__ import annotations

from pathlib import Path

import pytest

from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.errors import CalibrationError
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelRepository
from avizor_service.anomaly_metrics import AnomalyMetrics
from avizor_service.metric_labels import BoundedSources
from avizor_service.metrics import Metrics


@pytest.fixture
def calibrations(models: Path) -> dict[str, tuple[Calibration, ...]]:
    (calibration,) = ModelRepository(models).version("normal").calibrations()
    return {"normal": (calibration,)}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model": "normal"} | labels)


def judged(p_value: float | None, compared_with: int = 60) -> Verdict:
    return Verdict(score=1.0, p_value=p_value, judged_by="a", is_short=False, compared_with=compared_with)


def test_sources_that_nobody_named_share_one_label() -> None:
    sources = BoundedSources(("pump",))
    sources.add(["fan"])
    assert [sources.label(source) for source in ("pump", "fan", "made-up", "")] == ["pump", "fan", "other", "other"]
    assert sources.all() == ["fan", "other", "pump"]


def test_every_series_of_a_calibrated_model_starts_at_0(calibrations: dict[str, tuple[Calibration, ...]]) -> None:
    metrics = Metrics()
    AnomalyMetrics(metrics, BoundedSources(("c",)), 0.05).start(calibrations)
    for source in ("a", "b", "c", "other"):
        for name in ("avizor_items_scored_total", "avizor_items_not_judged_total", "avizor_anomalies_total"):
            assert value(metrics, name, source=source) == 0
    assert value(metrics, "avizor_alert_alpha") == 0.05
    assert value(metrics, "avizor_calibration_info", calibration_id=calibrations["normal"][0].id) == 1
    created = value(metrics, "avizor_calibration_created_timestamp_seconds")
    assert created == pytest.approx(calibrations["normal"][0].created.timestamp())


def test_an_alpha_that_a_calibration_cannot_support_is_refused_at_the_start(
    calibrations: dict[str, tuple[Calibration, ...]],
) -> None:
    with pytest.raises(CalibrationError, match=r"alpha 0\.001 needs at least 999 normal items"):
        AnomalyMetrics(Metrics(), BoundedSources(), 0.001).start(calibrations)


def test_a_gateway_that_does_not_start_says_how_to_start_it(calibrations: dict[str, tuple[Calibration, ...]]) -> None:
    """With one model that supports alpha, and two that do not: one of 16 items, and one of 10."""
    (large,) = calibrations["normal"]
    small = {
        name: large.model_copy(update={"model": name, "sources": {"a": large.sources["a"][:count]}})
        for name, count in (("machines", 16), ("fans", 10))
    }
    with pytest.raises(CalibrationError) as caught:
        AnomalyMetrics(Metrics(), BoundedSources(), 0.05).start(calibrations | {name: (each,) for name, each in small.items()})
    said = str(caught.value)
    assert "needs at least 19 normal items and the calibration of 'machines' has 16" in said
    assert "needs at least 19 normal items and the calibration of 'fans' has 10" in said
    assert "start with --alpha 0.091 or more, which all models here support" in said
    assert "`avizor models rollback machines`" in said
    assert "`avizor models rollback fans`" in said
    assert "move their folders ('machines', 'fans') out of the repository" in said
    assert "together" not in said.partition("Do one of these: ")[2]
    AnomalyMetrics(Metrics(), BoundedSources(), 0.091).start(calibrations | {name: (each,) for name, each in small.items()})


def test_the_smallest_alpha_of_all_sources_together_is_said_to_be_that(
    calibrations: dict[str, tuple[Calibration, ...]],
) -> None:
    with pytest.raises(CalibrationError) as caught:
        AnomalyMetrics(Metrics(), BoundedSources(), 0.001).start(calibrations)
    said = str(caught.value)
    assert "each source by itself keeps alpha from 0.033 on" in said
    assert "--alpha 0.017 or more, which all models here support, 'normal' by the items of all its sources together" in said


def test_no_alpha_is_named_where_none_would_do(calibrations: dict[str, tuple[Calibration, ...]]) -> None:
    crossed = tuple(each.model_copy(update={"folds": 5}) for each in calibrations["normal"])
    with pytest.raises(CalibrationError, match="ask without a confidence") as caught:
        AnomalyMetrics(Metrics(), BoundedSources(), 0.05, confidence=0.95).start({"normal": crossed})
    assert "start without a confidence" in str(caught.value)
    assert "start with --alpha" not in str(caught.value)
    assert "move its folder ('normal') out of the repository" in str(caught.value)


def test_sources_with_too_few_recordings_are_warned_of(
    calibrations: dict[str, tuple[Calibration, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    AnomalyMetrics(Metrics(), BoundedSources(), 0.02).start(calibrations)
    assert "too few calibration recordings for alpha 0.02, which needs 49: a (30), b (30); of n, " in caplog.text
    assert caplog.text.rstrip().endswith("; each source by itself keeps alpha from 0.033 on")


def test_a_calibration_of_this_engine_that_is_too_small_is_warned_of_once(
    calibrations: dict[str, tuple[Calibration, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    """One for another engine is large enough, so that the gateway starts."""
    (large,) = calibrations["normal"]
    small = large.model_copy(update={"id": "a" * 12, "sources": {source: items[:5] for source, items in large.sources.items()}})
    watching = AnomalyMetrics(Metrics(), BoundedSources(), 0.05)
    watching.start({"normal": (large, small)})
    for _ in range(2):
        watching.watch("normal", (large, small), in_use=large)
    assert "nothing could be flagged" not in caplog.text
    for _ in range(2):
        watching.watch("normal", (large, small), in_use=small)
    assert caplog.text.count("nothing could be flagged at the gateway's own alpha") == 1
    assert "needs at least 19 normal items and the calibration of 'normal' has 10; use alpha 0.091 or more" in caplog.text


def test_the_weaker_promise_of_a_cross_fitted_calibration_is_warned_of(
    calibrations: dict[str, tuple[Calibration, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    crossed = tuple(each.model_copy(update={"folds": 5}) for each in calibrations["normal"])
    AnomalyMetrics(Metrics(), BoundedSources(), 0.05).start({"normal": crossed})
    assert "cross-fitted in 5 folds: at alpha 0.05, at most 16.7% of normal items are flagged" in caplog.text


def test_verdicts_are_counted_at_the_gateways_own_alpha(calibrations: dict[str, tuple[Calibration, ...]]) -> None:
    metrics = Metrics()
    anomaly_metrics = AnomalyMetrics(metrics, BoundedSources(), 0.05)
    anomaly_metrics.start(calibrations)
    for p_value in (0.04, 0.06, 1.0):
        anomaly_metrics.count("normal", "a", judged(p_value), "0")
    anomaly_metrics.count("normal", "a", judged(0.04, compared_with=3), "0")  # too few for alpha 0.05
    anomaly_metrics.count("normal", "who?", judged(None, compared_with=0), "0")
    assert value(metrics, "avizor_items_scored_total", source="a") == 3
    assert value(metrics, "avizor_anomalies_total", source="a") == 1
    assert value(metrics, "avizor_items_not_judged_total", source="a") == 1
    assert value(metrics, "avizor_items_not_judged_total", source="other") == 1
    assert value(metrics, "avizor_anomaly_p_value_count") == 3


def test_anomalies_are_counted_with_the_gateways_confidence(calibrations: dict[str, tuple[Calibration, ...]]) -> None:
    metrics = Metrics()
    counting = AnomalyMetrics(metrics, BoundedSources(("a",)), 0.05, confidence=0.95)
    counting.start(calibrations)
    # With 60 items one score may be flagged: a p-value of 2/61 is below alpha, and is not.
    for p_value in (1 / 61, 2 / 61):
        counting.count("normal", "a", Verdict(1.0, p_value, "a", False, compared_with=60, of_source=60), "0")
    assert value(metrics, "avizor_items_scored_total", source="a") == 2
    assert value(metrics, "avizor_anomalies_total", source="a") == 1
    with pytest.raises(CalibrationError, match=r"with confidence 0\.99 needs at least 90 normal items"):
        AnomalyMetrics(metrics, BoundedSources(()), 0.05, confidence=0.99).start(calibrations)


def drift(metrics: Metrics, source: str) -> float | None:
    return value(metrics, "avizor_drift_log_martingale", source=source)


def low(of_source: int = 60) -> Verdict:
    """The verdict on an item whose score is smaller than all of the calibration's."""
    return Verdict(0.0, 1.0, "a", is_short=False, compared_with=60, of_source=of_source, low_p_value=1 / 61)


def test_drift_is_followed_by_source_and_anew_with_another_calibration(
    calibrations: dict[str, tuple[Calibration, ...]],
) -> None:
    metrics, (calibration,) = Metrics(), calibrations["normal"]
    counting = AnomalyMetrics(metrics, BoundedSources(), 0.05)
    counting.start(calibrations)
    assert [drift(metrics, source) for source in ("a", "b", "other")] == [0, 0, 0]
    for _ in range(100):
        counting.count("normal", "a", low(), calibration.id)
    assert drift(metrics, "a") == 35
    assert drift(metrics, "b") == 0
    counting.watch("normal", [calibration])  # the same one
    assert drift(metrics, "a") == 35
    newer = calibration.model_copy(update={"engine_class": "openvino"})
    counting.watch("normal", [newer])
    assert drift(metrics, "a") == 0
    for _ in range(10):
        counting.count("normal", "a", low(), newer.id)
    assert 0 < (drift(metrics, "a") or 0) < 35
    counting.forget_others(["another model"])  # it was removed
    assert drift(metrics, "a") == 0


def test_verdicts_of_a_calibration_that_is_active_no_more_say_nothing_of_drift(
    calibrations: dict[str, tuple[Calibration, ...]],
) -> None:
    """A stream keeps its calibration until it ends, and a caller may name an older version, which has another one."""
    metrics, (older,) = Metrics(), calibrations["normal"]
    newer = older.model_copy(update={"engine_class": "openvino"})
    counting = AnomalyMetrics(metrics, BoundedSources(), 0.05)
    counting.start({"normal": (newer,)})
    for _ in range(100):
        counting.judged_by("normal", older)
        counting.count("normal", "a", low(), older.id)
    assert drift(metrics, "a") == 0
    for _ in range(100):
        for each in (older, newer):
            counting.judged_by("normal", each)
            counting.count("normal", "a", low(), each.id)
    assert drift(metrics, "a") == 35


def test_drift_is_followed_of_a_model_that_was_calibrated_since_the_last_look(
    calibrations: dict[str, tuple[Calibration, ...]],
) -> None:
    metrics, (calibration,) = Metrics(), calibrations["normal"]
    counting = AnomalyMetrics(metrics, BoundedSources(("a",)), 0.05)
    counting.start({})
    counting.judged_by("normal", calibration)
    for _ in range(100):
        counting.count("normal", "a", low(), calibration.id)
    assert drift(metrics, "a") == 35


def test_an_item_of_a_source_that_was_never_calibrated_says_nothing_of_drift(
    calibrations: dict[str, tuple[Calibration, ...]],
) -> None:
    """It is compared with all sources together, for which nothing is promised: it may well be quieter than they are."""
    metrics, (calibration,) = Metrics(), calibrations["normal"]
    counting = AnomalyMetrics(metrics, BoundedSources(("c",)), 0.05)
    counting.start(calibrations)
    for source in ("c", "who?"):
        for _ in range(100):
            counting.count("normal", source, low(of_source=0), calibration.id)
    assert [drift(metrics, source) for source in ("c", "other")] == [0, 0]
    flat = calibration.model_copy(update={"sources": {"default": calibration.sources["a"]}, "short": {}})
    counting.watch("normal", [flat])  # of a flat folder, for any source
    for _ in range(100):
        counting.count("normal", "c", low(of_source=0), flat.id)
    assert drift(metrics, "c") == 35


def test_a_cross_fitted_calibration_says_nothing_of_drift(calibrations: dict[str, tuple[Calibration, ...]]) -> None:
    metrics, (calibration,) = Metrics(), calibrations["normal"]
    counting = AnomalyMetrics(metrics, BoundedSources(), 0.05)
    crossed = calibration.model_copy(update={"folds": 5})
    counting.start({"normal": (crossed,)})
    for _ in range(100):
        counting.count("normal", "a", low(), crossed.id)
    assert drift(metrics, "a") == 0
