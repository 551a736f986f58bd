"""The figures of a report: counts at every alpha, intervals, neighbours, what is written as text."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.result_tables import write_results

from avizor_inference.intervals import wilson
from avizor_inference.review_answers import Answer, AnswerFile
from avizor_review.job_file import JobFile
from avizor_review.media.job_models import JobModels
from avizor_review.report.cli import report
from avizor_review.report.figures import figures_of
from avizor_review.report.neighbours import nearest_normal
from avizor_review.report.page import MOST_BYTES, shown
from avizor_review.report.steps import round_alphas, steps_of
from avizor_review.report.write import write_report
from avizor_review.results import Results

GROUPS = "SELECT model, source AS part, p_value FROM recordings"


def judged(count: int, n: int = 99, seed: int = 0, **more: Any) -> list[dict[str, Any]]:
    p_values = np.random.default_rng(seed).integers(1, n + 2, count) / (n + 1)
    return [
        {"uri": f"{place:05d}.wav", "source": f"s{place % 3}", "model": "m", "windows": 1, "p_value": float(p)}
        | {"score": 1.0 / float(p), "is_anomaly": bool(p <= 0.05), "calibration_id": "0" * 12}
        | more
        for place, p in enumerate(p_values)
    ]


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.0499999, 0.05, 0.123, 0.5])
def test_counts_are_exact_at_every_alpha(tmp_path: Path, alpha: float) -> None:
    rows = judged(2000)
    with Results.open(write_results(tmp_path, recordings=rows)) as results:
        steps = steps_of(results, GROUPS, [0.05])
    assert not steps.grid
    for source in ("s0", "s1", "s2"):
        counted = sum(row["source"] == source and row["p_value"] <= alpha for row in rows)
        assert steps.of["m", source].at(alpha) == counted


def test_with_very_many_p_values_counts_are_exact_at_round_alphas_and_at_those_of_the_job(tmp_path: Path) -> None:
    rows = judged(3000, n=10**6)
    with Results.open(write_results(tmp_path, recordings=rows)) as results:
        steps = steps_of(results, GROUPS, [0.0321], most=100)
    assert {0.01, 0.05, 0.0321} <= set(steps.grid)
    assert len(steps.of["m", "s0"].alphas) <= len(steps.grid)
    for alpha in steps.grid:
        counted = sum(row["source"] == "s0" and row["p_value"] <= alpha for row in rows)
        assert steps.of["m", "s0"].at(alpha) == counted


def test_round_alphas_ascend_to_the_highest() -> None:
    alphas = round_alphas(0.0321)
    assert alphas == sorted(set(alphas))
    assert alphas[-1] == 0.5


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0)]
)
def test_intervals_are_those_of_wilson(count: int, of: int, low: float, high: float) -> None:
    assert wilson(count, of) == pytest.approx((low, high), abs=1e-4)


def test_sources_are_counted_and_the_rarest_ones_together(tmp_path: Path) -> None:
    rows = [row | {"source": f"s{place}"} for place, row in enumerate(judged(130))]
    with Results.open(write_results(tmp_path, recordings=rows)) as results:
        (figures,), _ = figures_of(results, JobModels(results), [0.05])
    assert len(figures.sources) == 101
    assert figures.sources[-1].name is None
    assert sum(source.judged for source in figures.sources) == 130
    assert sum(source.steps.at(0.05) for source in figures.sources) == sum(row["is_anomaly"] for row in rows)


def test_precision_counts_what_reviewers_said_of_flagged_items(tmp_path: Path) -> None:
    out = write_results(tmp_path, recordings=judged(50))
    flagged = sorted((row["p_value"], row["uri"]) for row in judged(50))[:3]
    file = AnswerFile(out / "answers.jsonl")
    for (_, uri), word in zip(flagged, ("abnormal", "normal", "unsure"), strict=True):
        file.append(
            Answer.model_validate({"uri": uri, "model": "m", "answer": word, "reviewer": "ana", "time": "2026-01-01T00:00:00Z"})
        )
    with Results.open(out) as results:
        (figures,), _ = figures_of(results, JobModels(results), [0.05])
    assert figures.answered
    said = figures.answered
    assert [said.abnormal.alphas, said.normal.alphas, said.doubtful.alphas] == [[p] for p, _ in flagged]


def test_answers_that_are_kept_elsewhere_are_taken_from_there(tmp_path: Path) -> None:
    out = write_results(tmp_path, recordings=judged(50))
    elsewhere = tmp_path / "ana.jsonl"
    written = CliRunner().invoke(report, [str(out), "--out", str(tmp_path / "r.html"), "--answers", str(elsewhere)])
    assert (written.exit_code, "does not exist" in written.stderr) == (2, True)
    answer = {"uri": "00000.wav", "model": "m", "answer": "abnormal", "reviewer": "ana", "time": "2026-01-01T00:00:00Z"}
    AnswerFile(elsewhere).append(Answer.model_validate(answer))
    written = CliRunner().invoke(report, [str(out), "--out", str(tmp_path / "r.html"), "--answers", str(elsewhere)])
    assert written.exit_code == 0, written.output
    with Results.open(out) as results:
        (figures,), _ = figures_of(results, JobModels(results), [0.05], elsewhere)
        (without,), _ = figures_of(results, JobModels(results), [0.05])
    assert figures.answered
    assert (len(figures.answered.abnormal.alphas), without.answered) == (1, None)


@pytest.mark.parametrize("cosine", [True, False])
def test_the_nearest_items_are_those_of_all_that_were_not_flagged(tmp_path: Path, cosine: bool) -> None:
    vectors = np.random.default_rng(0).standard_normal((300, 5))
    rows = judged(300)
    windows = [
        {"uri": row["uri"], "model": "m", "channel": 0, "start_sample": 0, "embedding": vector.tolist()}
        for row, vector in zip(rows, vectors, strict=True)
    ]
    with Results.open(write_results(tmp_path, recordings=rows, windows=windows, embeddings=True)) as results:
        window = results.windows(rows[7]["uri"], "m")
        (found,) = nearest_normal(results, "m", window, 4, cosine=cosine)
    points = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if cosine else vectors
    distances = np.linalg.norm(points - points[7], axis=1)
    order = [place for place in np.argsort(distances) if place != 7 and not rows[place]["is_anomaly"]][:4]
    assert [each.uri for each in found] == [rows[place]["uri"] for place in order]
    assert [each.distance for each in found] == pytest.approx(distances[order].tolist(), abs=1e-5)


def test_an_item_with_many_windows_hides_no_other_one(tmp_path: Path) -> None:
    """Neither the item itself, of which no window is flagged, nor another one whose windows are all nearer than a third."""
    rows = judged(4, is_anomaly=False)
    near = [(0, 0.0), *[(0, 0.001 * place) for place in range(1, 90)], *[(1, 1 + 0.001 * place) for place in range(90)]]
    windows = [
        {"uri": rows[item]["uri"], "model": "m", "channel": 0, "start_sample": place, "embedding": [0.0, value]}
        for place, (item, value) in enumerate([*near, (2, 3.0), (3, 2.0)])
    ]
    with Results.open(write_results(tmp_path, recordings=rows, windows=windows, embeddings=True)) as results:
        window = results.window(rows[0]["uri"], "m", 0, 0)
        assert window is not None
        (found,) = nearest_normal(results, "m", [window], 3, cosine=False)
    assert [each.uri for each in found] == [rows[place]["uri"] for place in (1, 3, 2)]
    assert [each.distance for each in found] == pytest.approx([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("name", "text"),
    [("a\x00b\x1b[31m", "a\\x00b\\x1b[31m"), ("\u202egnp.exe", "\\u202egnp.exe"), ("ñandú ✓", "ñandú ✓")],
)
def test_what_cannot_be_printed_is_shown_as_its_code(name: str, text: str) -> None:
    assert shown(name) == text


def test_a_huge_name_is_cut_in_its_middle() -> None:
    text = shown("a" * 10_000 + ".wav")
    assert len(text) < 300
    assert text.endswith(".wav")


HOSTILE = (
    '<script>document.title="owned"</script>',
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</script><script>1",
)


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    rows = [row | {"uri": name, "source": name} for row, name in zip(judged(4), HOSTILE, strict=True)]
    letters = [{"uri": name, "source": name, "error_class": "MediaError", "message": name} for name in HOSTILE]
    out = write_results(tmp_path, recordings=rows, dead_letters=letters, roots=list(HOSTILE))
    with Results.open(out) as results:
        write_report(results, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    before = page[: page.index('<script type="application/json"')]
    assert "<img src=x" not in page
    assert "<script" not in before
    assert page.count("<script") == 3 == page.count("</script>")
    assert not re.search(r"(href|src)=.?javascript:", page)
    assert "script-src 'sha256-" in html.unescape(page)


def test_a_job_of_nothing_a_job_without_anomalies_and_an_unfinished_one_have_reports(tmp_path: Path) -> None:
    jobs = {
        "nothing": write_results(tmp_path / "nothing"),
        "calm": write_results(tmp_path / "calm", recordings=[row | {"p_value": 0.7, "is_anomaly": False} for row in judged(9)]),
        "unfinished": write_results(tmp_path / "unfinished", recordings=judged(5), finished=False),
    }
    pages = {}
    for name, out in jobs.items():
        with Results.open(out) as results:
            assert write_report(results, tmp_path / f"{name}.html") < MOST_BYTES
        pages[name] = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
    assert "No item was judged" in pages["nothing"]
    assert "0.00 %" in pages["calm"]
    assert "has not finished" in pages["unfinished"]


def test_a_job_with_a_confidence_keeps_its_alpha(tmp_path: Path) -> None:
    with Results.open(write_results(tmp_path, recordings=judged(9), confidence=0.95)) as results:
        write_report(results, tmp_path / "r.html")
        with pytest.raises(Exception, match="confidence of"):
            write_report(results, tmp_path / "r.html", alpha=0.01)
    assert 'id="alpha-slider"' not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_settings_of_a_job_are_read_whatever_later_versions_add(tmp_path: Path) -> None:
    assert JobFile.read(write_results(tmp_path, of_the_future=1)).alpha == 0.05
