"""Say before a training how long it takes with all its steps here, and what cross-fitting promises beside a split."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from statistics import median

import torch

from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.detection.early_stopping import BATCH, train_until_flat
from avizor_export.fitting.computing import same_everywhere
from avizor_export.fitting.plan import Plan, smallest_alpha, steps_for
from avizor_export.fitting.progress import duration, publishing_s
from avizor_export.fitting.split import split_items
from avizor_export.front_ends.build import feature_shape
from avizor_inference.anomaly.cross_fitted import promised_rate

# Steps of each try, after one that is slower than the others, and how many tries there are: one may meet other work.
_STEPS, _TRIES = 2, 5
_LONG_S = 3.0  # of all tries together, after which there is no other one


def cost_lines(plan: Plan) -> Iterator[str]:
    """Yield how long a plan takes; of cross-fitting also what it promises, and what a split would take and promise."""
    steps, shape = plan.recipe.most_steps, feature_shape(plan.recipe.input)
    step_s = _seconds_of_step(plan)
    yield time_line(steps, step_s, len(plan.folds.folds) if plan.folds else 1)
    if plan.folds:
        once = duration((steps if plan.steps_given else steps_for(shape)) * step_s + publishing_s())
        alpha = smallest_alpha(plan.items, split_items(plan.items.sources, plan.recipe.seed)).value
        yield (
            f"  alpha {plan.alpha} flags at most {_bound(plan):.1%} of normal items; with --folds 0, about {once}, "
            f"alpha {alpha} is the smallest, and flags at most {float(alpha):.0%}"
        )


def time_line(steps: int, step_s: float, trainings: int = 1) -> str:
    """Return how long so many trainings take, as a line for people. step_s: seconds that a step takes here and now.

    It is no bound: a training may end before all steps are done, and other work may begin beside it.
    """
    publishing = publishing_s(trainings)
    took = duration(trainings * steps * step_s + publishing)
    each = f"{trainings} trainings of " if trainings > 1 else ""
    parts = f"{each}{steps} steps, {step_s:.2g} s each, and {duration(publishing)} to publish"
    return f"time: about {took} with all steps, if this machine stays as busy as it is now ({parts})"


def seconds_of(train: Callable[[int], object]) -> float:
    """Return how many seconds a step of a training takes here and now. train: trains so many steps; what it learns is lost."""
    with same_everywhere():
        train(1)
        seconds = list[float]()
        while len(seconds) < _TRIES and sum(seconds) < _LONG_S:
            started = time.monotonic()
            train(_STEPS)
            seconds.append(time.monotonic() - started)
        return median(seconds) / _STEPS


def _seconds_of_step(plan: Plan) -> float:
    recipe = plan.recipe
    assert recipe.spec  # a plan has one
    # Of items without windows the training may have less than a batch.
    rows = BATCH if recipe.input.window_format() else max(2, min(BATCH, len(plan.items)))
    shape = feature_shape(recipe.input)
    network, noise = build_autoencoder(recipe.spec, shape), torch.randn(rows, *shape)
    return seconds_of(lambda steps: train_until_flat(network, noise, noise[:1], most_steps=steps))


def _bound(plan: Plan) -> float:
    """Return which share of normal items may be flagged at the plan's alpha, of the source with the largest one."""
    assert plan.folds
    counts, alpha = Counter(plan.items.sources[number] for number in plan.folds.all()), float(plan.alpha)
    rates = [promised_rate(count, len(plan.folds.folds), alpha) for count in counts.values() if alpha * (count + 1) >= 1]
    return max(rates, default=1.0)
