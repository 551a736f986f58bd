"""anomaly/reviewed.py keeps the promise of a calibration that is made from what was looked at because it was odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.calibrations import calibration
from support.reviewed_jobs import MODEL, answer, say, write_job
from support.sounds import SOUND

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.review_sample import sample
from avizor_inference.anomaly.reviewed import ReviewedJob, kept_scores, review_of
from avizor_inference.errors import CalibrationError, SettingsError
from avizor_inference.review_answers import AnswerFile, Answers, Word

ALPHA = 0.05

# What a reviewer says of an item, whether it is abnormal.
Reviewer = Callable[[bool, np.random.Generator], Word]


def knows(is_abnormal: bool, rng: np.random.Generator) -> Word:
    return "abnormal" if is_abnormal else "normal"


def doubts(is_abnormal: bool, rng: np.random.Generator) -> Word:
    return "unsure" if rng.random() < 0.4 else knows(is_abnormal, rng)


def normal(rng: np.random.Generator, items: int, level: float = 0.0) -> list[list[float]]:
    """Items of one to four windows, which resemble each other."""
    return [np.exp(level + rng.normal() + 0.3 * rng.normal(size=int(rng.integers(1, 5)))).tolist() for _ in range(items)]


def flagged_share(by_source: dict[str, list[list[float]]], new: list[list[float]]) -> float:
    judge = Judge(calibration(by_source))
    return float(np.mean([judge.item_p_value("a", ItemScore.of(np.array(each)).value).value <= ALPHA for each in new]))


def one_site(rng: np.random.Generator, results: Path, reviewer: Reviewer, size: int | None) -> dict[str, float]:
    """A job at a site that is louder than the calibration, with a few faults; return what is flagged of its next normal items.

    By the calibration from the review, and by two that are made in ways that suggest themselves.
    """
    site, faults = normal(rng, 190, level=0.5), normal(rng, 10, level=2.0)
    old = Judge(calibration({"a": normal(rng, 99)}))
    scores = {f"a/{rng.integers(2**60)}.wav": each for each in site + faults}
    abnormal = dict(zip(scores, [False] * len(site) + [True] * len(faults), strict=True))
    p_values = {uri: old.item_p_value("a", ItemScore.of(np.array(each)).value).value for uri, each in scores.items()}
    write_job(results, scores, p_values, ALPHA)
    answers = Answers()
    for uri, p_value in p_values.items():
        if p_value <= ALPHA:
            answers.add(answer(uri, reviewer(abnormal[uri], rng)))
    review = review_of(results, MODEL, answers, size)
    kept, _ = kept_scores(results, MODEL, SOUND, review)
    new = normal(rng, 20, level=0.5)
    looked_at = [uri for uri, p_value in p_values.items() if p_value <= ALPHA]
    called_normal = [scores[uri] for uri in looked_at if not abnormal[uri]]
    not_flagged = [each for uri, each in scores.items() if uri not in looked_at]
    return {
        "review": flagged_share({"a": [list(each) for each in kept["a"]]}, new),
        "only what was called normal": flagged_share({"a": called_normal}, new),
        "only what was not flagged": flagged_share({"a": not_flagged}, new),
    }


@pytest.mark.parametrize(("reviewer", "size"), [(knows, None), (doubts, None), (knows, 120)], ids=["all", "doubts", "sample"])
def test_the_promise_is_kept_for_what_comes_after_a_review(tmp_path: Path, reviewer: Reviewer, size: int | None) -> None:
    """Over 80 sites. The bound is three standard errors above alpha, times 1.05 for the faults that were not flagged."""
    rng = np.random.default_rng(5)
    sites = [one_site(rng, tmp_path / str(number), reviewer, size) for number in range(80)]
    rates = {name: np.array([site[name] for site in sites]) for name in sites[0]}
    error = rates["review"].std() / np.sqrt(len(sites))
    assert rates["review"].mean() <= ALPHA * 1.05 + 3 * error
    if reviewer is knows:
        assert rates["review"].mean() >= ALPHA / 2, "the promise is used, not only kept"
    assert rates["only what was not flagged"].mean() > 2 * ALPHA, "the simulation sees a broken promise"
    assert rates["only what was called normal"].mean() < ALPHA / 5, "nothing is found by what was odd alone"


def few(tmp_path: Path, **job: object) -> tuple[Path, AnswerFile]:
    """A job of 30 items of one window, of which a/00 to a/02 are flagged."""
    scores = {f"a/{number:02}": [float(number)] for number in range(30)}
    p_values = {uri: 0.01 if uri < "a/03" else 0.5 for uri in scores}
    return write_job(tmp_path, scores, p_values, ALPHA, **job), AnswerFile(tmp_path / "answers.jsonl")


def test_flagged_items_have_to_be_answered_before(tmp_path: Path) -> None:
    results, file = few(tmp_path)
    say(file, "a/00", "normal")
    with pytest.raises(CalibrationError, match=r"2 flagged items are not answered .*: a/01, a/02; answer them"):
        review_of(results, MODEL, file.answers(), None)
    say(file, "a/01", "abnormal")
    say(file, "a/02", "normal", "ana")
    say(file, "a/02", "abnormal", "ben")
    say(file, "a/29", "abnormal")
    review = review_of(results, MODEL, file.answers(), None)
    assert (review.abnormal, review.cleared, review.doubtful, len(review.kept)) == (2, 1, 1, 28)
    assert "a/01" not in review.kept
    assert "a/29" not in review.kept
    assert "a/02" in review.kept
    assert list(review.lines()) == [
        "all 30 items of the job: 2 called abnormal are left out, 1 flagged ones called normal are kept",
        "1 doubtful ones are kept: called unsure, or differently by two reviewers",
    ]


def test_a_sample_asks_for_its_own_flagged_items_only(tmp_path: Path) -> None:
    results, file = few(tmp_path)
    uris = [f"a/{number:02}" for number in range(30)]
    size = next(size for size in range(5, 30) if len(sample(uris, size) & {"a/00", "a/01", "a/02"}) == 1)
    (asked,) = sample(uris, size) & {"a/00", "a/01", "a/02"}
    with pytest.raises(CalibrationError, match=f"1 flagged items are not answered .*: {asked};"):
        review_of(results, MODEL, file.answers(), size)
    say(file, asked, "normal")
    assert review_of(results, MODEL, file.answers(), size).kept.keys() == sample(uris, size)


def test_a_sample_is_drawn_evenly_and_is_part_of_a_larger_one() -> None:
    uris = [f"a/{number:05}" for number in range(4000)]
    drawn = sample(uris, 1000)
    assert drawn < sample(reversed(uris), 1500)
    counts = np.bincount([int(uri[2:]) // 400 for uri in drawn])
    assert counts.min() >= 70, "each tenth of the names has about a hundred"
    assert counts.max() <= 130


def test_recordings_under_a_window_are_kept_apart(tmp_path: Path) -> None:
    results, file = few(tmp_path)
    for uri in ("a/00", "a/01", "a/02"):
        say(file, uri, "normal")
    import pyarrow as pa
    import pyarrow.parquet as pq

    (part,) = (results / "windows").glob("*.parquet")
    rows = pq.read_table(part).to_pylist()
    rows[5]["end_sample"] = 100
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(part)), part)
    long, short = kept_scores(results, MODEL, SOUND, review_of(results, MODEL, file.answers(), None))
    assert short == {"a": ((5.0,),)}
    assert len(long["a"]) == 29


def test_tables_that_lack_a_window_are_refused(tmp_path: Path) -> None:
    results, file = few(tmp_path)
    for uri in ("a/00", "a/01", "a/02"):
        say(file, uri, "normal")
    review = review_of(results, MODEL, file.answers(), None)
    next((results / "windows").glob("*.parquet")).unlink()
    with pytest.raises(CalibrationError, match="do not fit together; `avizor verify"):
        kept_scores(results, MODEL, SOUND, review)


def test_a_job_that_cannot_be_reviewed_is_refused_with_the_reason(tmp_path: Path) -> None:
    results, _ = few(tmp_path / "one")
    (results / "summary.json").unlink()
    with pytest.raises(SettingsError, match="has not finished, and what a job has done so far is no random sample"):
        ReviewedJob.read(results)
    other, _ = few(tmp_path / "two", rows_format=1)
    with pytest.raises(SettingsError, match="was written by another version of Avizor"):
        ReviewedJob.read(other)
    with pytest.raises(SettingsError, match="holds no results of `avizor batch`"):
        ReviewedJob.read(tmp_path / "nowhere")
    job, _ = few(tmp_path / "three", models=[{"name": MODEL, "version": 1, "sha256": "0"}])
    with pytest.raises(CalibrationError, match="had no calibration in this job, so nothing was flagged"):
        ReviewedJob.read(job).model(MODEL)
    with pytest.raises(CalibrationError, match="the job ran normal, and not 'other'"):
        ReviewedJob.read(job).model("other")
