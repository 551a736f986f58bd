"""Recordings are divided as wholes, in each source, by chance that a seed decides."""

from __future__ import annotations

from collections import Counter

import pytest

from avizor_export.fitting.plan import FEW, FOLDS, folds_for
from avizor_export.fitting.split import FEWEST, fold_items, split_items, stopping_of

SOURCES = ["fan"] * 60 + ["pump"] * 40


def test_each_recording_is_in_one_part() -> None:
    parts = split_items(SOURCES)
    assert sorted([*parts.training, *parts.stopping, *parts.calibration]) == list(range(100))


def test_each_source_is_in_each_part_by_its_share() -> None:
    parts = split_items(["fan"] * 600 + ["pump"] * 400)
    by_part = [Counter(number < 600 for number in part) for part in (parts.training, parts.stopping, parts.calibration)]
    assert [(part[True], part[False]) for part in by_part] == [(360, 240), (60, 40), (180, 120)]


def test_a_small_source_gets_enough_for_alpha_a_twentieth() -> None:
    parts = split_items(["fan"] * 50 + ["pump"] * 100)
    assert sum(number < 50 for number in parts.calibration) == FEWEST


def test_sources_of_one_recording_each_are_divided_together() -> None:
    parts = split_items([str(number) for number in range(100)])
    assert (len(parts.training), len(parts.stopping), len(parts.calibration)) == (60, 10, 30)


def test_a_given_share_is_kept() -> None:
    assert len(split_items(SOURCES, calibration=0.5).calibration) == 50


def test_the_same_seed_gives_the_same_parts_and_another_seed_others() -> None:
    assert split_items(SOURCES, 3) == split_items(SOURCES, 3) != split_items(SOURCES, 4)


@pytest.mark.parametrize("sources", [SOURCES, ["a"] * 31, ["a"] * 3 + ["b"] * 40, [str(number % 20) for number in range(60)]])
def test_folds_are_equal_and_what_is_left_is_trained_on_by_all(sources: list[str]) -> None:
    folds = fold_items(sources, 5)
    assert len({len(fold) for fold in folds.folds}) == 1
    assert sorted([number for fold in folds.folds for number in fold] + list(folds.rest)) == list(range(len(sources)))
    assert all(set(folds.outside(place)).isdisjoint(fold) for place, fold in enumerate(folds.folds))
    assert all(set(folds.rest) <= set(folds.outside(place)) for place in range(5))


def test_each_source_has_equally_many_in_each_fold() -> None:
    folds = fold_items(SOURCES, 5)
    assert {(sum(number < 60 for number in fold), sum(number >= 60 for number in fold)) for fold in folds.folds} == {(12, 8)}


def test_what_ends_a_training_is_not_trained_on() -> None:
    training, stopping = stopping_of(range(20, 80), SOURCES)
    assert sorted([*training, *stopping]) == list(range(20, 80))
    assert 4 <= len(stopping) <= 8


def test_few_recordings_are_cross_fitted_and_many_are_split() -> None:
    assert folds_for(["a"] * (FEW - 1)) == FOLDS
    assert folds_for(["a"] * FEW) == 0
    assert folds_for([str(number % 6) for number in range(240)]) == FOLDS  # 16 of each could be held out, and 19 are needed
    assert folds_for([str(number % 6) for number in range(600)]) == 0
    assert folds_for([str(number % 60) for number in range(300)]) == 0  # 5 of a source are too few in any way
