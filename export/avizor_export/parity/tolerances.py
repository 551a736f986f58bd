"""How far an output may be from its reference: each is compared on its own scale.

* Values: |found - reference| <= 1e-4 + 1e-3 |reference| + 1e-5 of the item's largest value. The last is rounding: an element
  near 0 of a map up to 1000 is a difference of sums of that size, and two implementations add these up in another order.
* `score` and `error_map` are squares, and of a good reconstruction tiny ones: any error would be within 1e-4. Their roots are
  compared. |root(found) - root(reference)| is at most the largest difference of features and reconstruction (the triangle
  inequality, of a root mean square too), and that is rounding: a share of the item's largest value.
* `probabilities` near 0 and 1 tell nothing of the logits behind them: their logarithms are compared as well, as values. Logits
  round as shares of the item's largest logit, so that is their scale. Those that a file quantises itself may be a step apart.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from avizor_export.graph.logits import LOGITS
from avizor_inference.arrays import Floats, Items
from avizor_inference.errors import ExportError
from avizor_inference.repository.reports import OutputDifference

ABSOLUTE_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-3
# Share of an item's largest value; 80 roundings of float32. Measured are up to 2 of a root, and up to 30 of a map.
SCALE_TOLERANCE = 1e-5
ROOT_TOLERANCE = SCALE_TOLERANCE
# Logits of 10,000 reach it. Beyond that float32 does not tell classes apart, and a wrong graph would pass.
LARGEST_LOGIT_ROUNDING = 0.1
# What a reference may return besides its outputs and LOGITS, and is not compared: the step to which the file itself rounds its
# probabilities, float[n, 1].
STEP = "step"
# Rarer classes are not told apart: float32, and fast softmaxes, end a little lower.
_LEAST_PROBABILITY = 1e-30
SQUARES = ("score", "error_map")

Outputs = Mapping[str, Items]


def output_differences(reference: Outputs, found: Outputs, sample: str) -> dict[str, OutputDifference]:
    """Of each output [n, ...] by name. Raises ExportError if one has another shape than its reference."""
    largest_value = _largest_value(reference)
    logit_rounding, compared = _logit_rounding(reference), {}
    for name, values in reference.items():
        if name in (LOGITS, STEP):
            continue
        if values.shape != found[name].shape:
            raise ExportError(
                f"the exported graph gives {list(found[name].shape)} for {name} where {list(values.shape)} is wanted ({sample})"
            )
        wanted, got = values.astype(np.float64), found[name].astype(np.float64)
        if name in SQUARES:
            share = _share_of_roots(wanted, got, largest_value)
        elif name == "probabilities":
            share = _share_of_probabilities(wanted, got, logit_rounding, _step(reference))
        else:
            share = _share(wanted, got, SCALE_TOLERANCE * _by_item(values).max(axis=1, initial=0.0))
        compared[name] = _difference(wanted, got, share, sample)
    return compared


def root_noise(reference: Outputs) -> float:
    """By how much the roots of scores may differ at most, for the items of these outputs."""
    return ROOT_TOLERANCE * float(_largest_value(reference).max(initial=0.0))


def worse(one: OutputDifference | None, other: OutputDifference) -> OutputDifference:
    """The one of two differences that tells more of what is wrong: the one that failed, or else the larger."""
    if one is None:
        return other
    if (not other.passed, other.largest_absolute) > (not one.passed, one.largest_absolute):
        one, other = other, one
    shares = [each.share_of_allowed for each in (one, other) if each.share_of_allowed is not None]
    return one.model_copy(update={"share_of_allowed": max(shares, default=None)})


def same_class(reference: Outputs, found: Outputs) -> list[bool]:
    """Whether each item's most probable class is the reference's, or one that ties with it there."""
    wide = reference["probabilities"].astype(np.float64)
    chosen = wide[np.arange(len(wide)), found["probabilities"].argmax(axis=1)]
    least = wide.max(axis=1) * (1 - _logit_rounding(reference)) - ABSOLUTE_TOLERANCE - _step(reference)
    return (chosen >= least).tolist()  # type: ignore[no-any-return]


def allowed(name: str) -> str:
    """What is allowed for an output, in words."""
    if name in SQUARES:
        return f"of its root {ROOT_TOLERANCE:g} of the item's largest value + {RELATIVE_TOLERANCE / 2:g} of the root"
    words = f"{ABSOLUTE_TOLERANCE:g} + {RELATIVE_TOLERANCE:g} of the value"
    scale = f"{SCALE_TOLERANCE:g} of the item's largest"
    if name == "probabilities":
        return f"{words}, and the same of the logarithm of probabilities; {scale} logit more, for its rounding"
    return f"{words} + {scale} value"


def _difference(wanted: Floats, got: Floats, share: float, sample: str) -> OutputDifference:
    absolute = np.abs(got - wanted)
    return OutputDifference(
        largest_absolute=_largest(absolute),
        largest_relative=_largest(absolute / np.maximum(np.abs(wanted), ABSOLUTE_TOLERANCE)),
        sample=sample,
        share_of_allowed=share,
        passed=share <= 1,
    )


def _share(wanted: Floats, got: Floats, rounding: Floats) -> float:
    """The largest difference as a share of what is allowed. rounding: float64[n], of each item."""
    permitted = ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(wanted) + _for_each(rounding, wanted)
    return _largest(np.abs(got - wanted) / permitted)


def _share_of_probabilities(wanted: Floats, got: Floats, logit_rounding: Floats, step: float) -> float:
    """Where a logit is off by d, its probability is off by less than a share d of itself, and the logarithm by less than d.

    step: to which they are rounded. A rounding of float32 may carry one to the next step, and logarithms tell nothing then.
    """
    permitted = ABSOLUTE_TOLERANCE + (RELATIVE_TOLERANCE + _for_each(logit_rounding, wanted)) * wanted + step
    share = _largest(np.abs(got - wanted) / permitted)
    return share if step else max(share, _share(_logarithms(wanted), _logarithms(got), logit_rounding))


def _step(reference: Outputs) -> float:
    return float(reference[STEP].max()) if STEP in reference else 0.0


def _logit_rounding(reference: Outputs) -> Floats:
    """By how much the logits of each item may be off by rounding: float64[n]."""
    if "probabilities" not in reference:
        return np.zeros(1)
    logits = reference.get(LOGITS, _logarithms(reference["probabilities"].astype(np.float64)))
    finite = np.nan_to_num(logits.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)  # -inf: a class that is never right
    largest: Floats = _by_item(finite).max(axis=1, initial=0.0)
    return np.minimum(SCALE_TOLERANCE * largest, LARGEST_LOGIT_ROUNDING)


def _share_of_roots(wanted: Floats, got: Floats, largest_value: Floats) -> float:
    with np.errstate(invalid="ignore"):  # a square that is negative is NaN now, and fails
        root, other = np.sqrt(wanted), np.sqrt(got)
    permitted = (
        ROOT_TOLERANCE * _for_each(largest_value, root) + RELATIVE_TOLERANCE / 2 * root
    )  # half: the root of 1 + d is nearly 1 + d / 2
    return _largest(np.abs(other - root) / np.maximum(permitted, np.finfo(np.float64).tiny))


def _logarithms(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, _LEAST_PROBABILITY))


def _largest_value(reference: Outputs) -> Floats:
    """Bound of an item's features and reconstruction: float64[n]. Features are reconstruction plus error."""
    wide = [_by_item(reference[name]) for name in ("reconstruction",) if name in reference]
    wide += [np.sqrt(_by_item(reference[name])) for name in ("error_map",) if name in reference]
    return np.sum([values.max(axis=1, initial=0.0) for values in wide], axis=0) if wide else np.zeros(1)


def _for_each(numbers: Floats, of: Floats) -> Floats:
    """float64[n], or float64[1] for all alike, in the dimensions of `of` [n, ...]."""
    return numbers.reshape(-1, *[1] * (of.ndim - 1))


def _by_item(values: Items) -> Floats:
    return np.abs(values.astype(np.float64)).reshape(len(values), -1)


def _largest(values: Floats) -> float:
    limit = np.finfo(np.float64).max
    return float(np.max(np.nan_to_num(values, nan=limit, posinf=limit), initial=0.0))
