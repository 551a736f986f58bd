"""Run one method over one set with one seed, or one trial of its tuning.

The trials are compared on the first seed by the ROC AUC of a fifth of the anomalies and the normal items of the statistics,
which is in no test. The best setting is then measured with each seed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detection.methods import METHODS, Method, Score, Setting
from detection.metrics import measure
from detection.sets import DetectionSet
from detection.sources import sources
from sklearn.metrics import roc_auc_score

SEEDS = (0, 1, 2)
NO_TUNING, TUNED = "none", "ten trials"
VALIDATION = 5  # one of so many anomalies, the first ones

Row = dict[str, str | float]


@dataclass(frozen=True)
class Task:
    """Says what to run: a method with a setting on a set with a seed. trial: whether to measure on the validation alone."""

    name: str
    seed: int
    method: str
    budget: str
    setting: Setting
    data: Path
    cache: Path
    trial: bool = False


def run(task: Task) -> list[Row]:
    """Return a row for each column of the set; of a trial one row, with `validation_auc`."""
    torch.set_num_threads(1)
    method, data = METHODS[task.method], load(task)
    start = time.process_time()
    score = method.fit(data, task.seed, task.setting)
    seconds = time.process_time() - start
    about: Row = {
        "set": task.name,
        "family": data.family,
        "seed": task.seed,
        "method": task.method,
        "budget": task.budget,
        "setting": json.dumps(task.setting, sort_keys=True),
        "training_seconds": round(seconds, 2),
    }
    if task.trial:
        return [{**about, "validation_auc": _validation_area(method, score, data)}]
    return [{**about, "column": column, **metrics} for column, metrics in _columns(method, score, data)]


def load(task: Task) -> DetectionSet:
    """Return the set of a task, from the cache if it is there."""
    path = task.cache / f"{task.name.replace(' ', '-')}-{task.seed}.npz"
    if not path.exists():
        sources()[task.name](task.data, task.seed).save(path)
    return DetectionSet.load(path)


def make(task: Task) -> tuple[str, int]:
    """Make the set of a task, so that the methods find it. Return its name and seed."""
    torch.set_num_threads(1)
    load(task)
    return task.name, task.seed


def _columns(method: Method, score: Score, data: DetectionSet) -> Iterator[tuple[str, Mapping[str, float]]]:
    calibration, normal = (method.item_scores(score, part) for part in (data.calibration, data.normal))
    for column, items in data.anomalies.items():
        tested = items.part(items.size // VALIDATION, items.size)
        yield column, measure(calibration, normal, method.item_scores(score, tested))


def _validation_area(method: Method, score: Score, data: DetectionSet) -> float:
    """Return the ROC AUC between the statistics' normal items and the validation's anomalies of all columns."""
    low = method.item_scores(score, data.statistics)
    odd = [items.part(0, items.size // VALIDATION) for items in data.anomalies.values()]
    high = np.concatenate([method.item_scores(score, items) for items in odd])
    return float(roc_auc_score(np.repeat([False, True], [len(low), len(high)]), np.concatenate([low, high])))
