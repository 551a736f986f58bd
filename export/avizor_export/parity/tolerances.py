"""Define how far an output may be from its reference; each output is compared on its own scale.

* Values: |actual - expected| <= 1e-4 + 1e-3 |expected| + 1e-5 of the item's largest value. The last term is rounding: an
  element near 0 of a map up to 1000 is a difference of sums of that size, and two implementations add these up in a different
  order.
* `score` and `error_map` are squares, and tiny ones if the reconstruction is good: any error would be within 1e-4. So their
  roots are compared. |root(actual) - root(expected)| is at most the largest difference of features and reconstruction (the
  triangle inequality, which holds for a root mean square too), and that is rounding: a share of the item's largest value.
* `probabilities` near 0 and 1 say nothing about the logits behind them, so their logarithms are compared as well, as values.
  Rounding errors of logits are shares of the item's largest logit, so that is their scale. Where each class has its own
  sigmoid, no other class shows by how much one falls short of 1; so the logarithms of 1 - p are compared too. Sigmoids are
  exact to a few steps of float32 below 1, and not to a share of themselves: that is the least p, and the least 1 - p, that is
  told from 0.
* A file that rounds values itself, to int8 or by computing 1 - p, may differ by as much more as its own rounding changes an
  output. A reference says how much that is: NOISE. So does a network on sound, of what its front end rounds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from avizor_export.graph.logits import LOGITS, SIGMOID
from avizor_inference.arrays import Floats, Items
from avizor_inference.errors import ExportError
from avizor_inference.repository.reports import OutputDifference

ABSOLUTE_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-3
# Share of an item's largest value: 80 roundings of float32. Up to 2 were measured in a root, and up to 30 in a map.
SCALE_TOLERANCE = 1e-5
ROOT_TOLERANCE = SCALE_TOLERANCE
# Logits of 10,000 reach this limit. Beyond it float32 does not separate classes, and a wrong graph would pass.
LARGEST_LOGIT_ROUNDING = 0.1
# With the name of an output after it, a reference returns by how much its own rounding changes that output of each item,
# float[n, 1]; of SQUARES the root. It is not compared.
NOISE = "noise of "
# How far the probability of a sigmoid may be off by rounding: ONNX Runtime's was measured at up to 2.8 / 2^24, torch's at 1.5.
_SIGMOID_ROUNDING = 4 / 2**24
# Smaller probabilities count as this one: float32, and fast softmaxes, end a little lower.
_LEAST_PROBABILITY = 1e-30
SQUARES = ("score", "reconstruction_score", "local_score", "error_map")

Outputs = Mapping[str, Items]


def output_differences(reference: Outputs, outputs: Outputs, sample: str) -> dict[str, OutputDifference]:
    """Return the difference of each output [n, ...] from its reference, by name. sample: what the items are, in words.

    Raises ExportError if an output has another shape than its reference.
    """
    largest_value = _largest_value(reference)
    logit_rounding, differences = _logit_rounding(reference), {}
    for name, values in reference.items():
        if name in (LOGITS, SIGMOID) or name.startswith(NOISE):
            continue
        if values.shape != outputs[name].shape:
            raise ExportError(
                f"the exported graph returns {list(outputs[name].shape)} for {name}, and {list(values.shape)} is expected "
                f"({sample})"
            )
        expected, actual = values.astype(np.float64), outputs[name].astype(np.float64)
        if name in SQUARES:
            share = _share_of_roots(expected, actual, largest_value, noise_of(reference, name))
        elif name == "probabilities":
            noise, is_sigmoid = noise_of(reference, name), SIGMOID in reference
            share = _share_of_probabilities(expected, actual, logit_rounding, noise, is_sigmoid=is_sigmoid)
        else:
            rounding = SCALE_TOLERANCE * _magnitudes(values).max(axis=1, initial=0.0) + noise_of(reference, name)
            share = _share(expected, actual, rounding)
        differences[name] = _difference(expected, actual, share, sample)
    return differences


def root_noise(reference: Outputs) -> float:
    """Return by how much the roots of scores may differ at most, for the items of these outputs."""
    return ROOT_TOLERANCE * float(_largest_value(reference).max(initial=0.0)) + noise_of(reference, "score")


def noise_between(outputs: Outputs, plain: Outputs) -> dict[str, Items]:
    """Return the noise of each output, under NOISE and its name: its largest difference from `plain`, float64[n, 1].

    plain: the outputs for the same items without the rounding.
    """
    noise = {}
    for name in outputs.keys() & plain.keys() - {LOGITS}:
        pair = [values[name].astype(np.float64) for values in (outputs, plain)]
        one, other = (np.sqrt(np.maximum(values, 0)) for values in pair) if name in SQUARES else pair
        noise[NOISE + name] = _magnitudes(one - other).max(axis=1, keepdims=True, initial=0.0)
    return noise


def noise_of(reference: Outputs, name: str) -> float:
    """Return the largest noise of an output over the items; 0 if the file does not round it."""
    return float(reference[NOISE + name].max()) if NOISE + name in reference else 0.0


def worse(one: OutputDifference | None, other: OutputDifference) -> OutputDifference:
    """Return the one of two differences that failed, or else the larger, with the larger `share_of_allowed` of the two."""
    if one is None:
        return other
    if (not other.passed, other.largest_absolute) > (not one.passed, one.largest_absolute):
        one, other = other, one
    shares = [share for share in (one.share_of_allowed, other.share_of_allowed) if share is not None]
    return one.model_copy(update={"share_of_allowed": max(shares, default=None)})


def same_class(reference: Outputs, outputs: Outputs) -> list[bool]:
    """Return for each item whether its most probable class is the reference's, or ties with that in the reference."""
    expected = reference["probabilities"].astype(np.float64)
    chosen = expected[np.arange(len(expected)), outputs["probabilities"].argmax(axis=1)]
    least = expected.max(axis=1) * (1 - _logit_rounding(reference)) - ABSOLUTE_TOLERANCE - noise_of(reference, "probabilities")
    return (chosen >= least).tolist()  # type: ignore[no-any-return]


def root_of(name: str) -> str:
    """Return in words what of an output is compared."""
    return f"the root of {name}" if name in SQUARES else name


def allowed(name: str) -> str:
    """Return in words how much an output may differ."""
    if name in SQUARES:
        return f"of its root {ROOT_TOLERANCE:g} of the item's largest value + {RELATIVE_TOLERANCE / 2:g} of the root"
    words = f"{ABSOLUTE_TOLERANCE:g} + {RELATIVE_TOLERANCE:g} of the value"
    scale = f"{SCALE_TOLERANCE:g} of the item's largest"
    if name == "probabilities":
        logarithms = "the same of the logarithm of probabilities, without a softmax of 1 - p too"
        return f"{words}, and {logarithms}; {scale} logit more, for its rounding"
    return f"{words} + {scale} value"


def _difference(expected: Floats, actual: Floats, share: float, sample: str) -> OutputDifference:
    absolute = np.abs(actual - expected)
    return OutputDifference(
        largest_absolute=_largest(absolute),
        largest_relative=_largest(absolute / np.maximum(np.abs(expected), ABSOLUTE_TOLERANCE)),
        sample=sample,
        share_of_allowed=share,
        passed=share <= 1,
    )


def _share(expected: Floats, actual: Floats, rounding: Floats) -> float:
    """Return the largest difference as a share of what is allowed. rounding: float64[n], of each item, or of each value."""
    rounding = rounding if rounding.shape == expected.shape else _per_item(rounding, expected)
    permitted = ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(expected) + rounding
    return _largest(np.abs(actual - expected) / permitted)


def _share_of_probabilities(
    expected: Floats, actual: Floats, logit_rounding: Floats, noise: float, *, is_sigmoid: bool
) -> float:
    """Return the largest difference of probabilities and of their logarithms as a share of what is allowed.

    If a logit is off by d, its probability is off by less than a share d of itself, and the logarithm by less than d; the same
    holds for 1 - p of a sigmoid. noise: by how much the file's own rounding changes probabilities; logarithms say nothing then.
    """
    permitted = ABSOLUTE_TOLERANCE + (RELATIVE_TOLERANCE + _per_item(logit_rounding, expected)) * expected + noise
    share = _largest(np.abs(actual - expected) / permitted)
    if noise:
        return share
    if not is_sigmoid:
        return max(share, _share(_logarithms(expected), _logarithms(actual), logit_rounding))
    return max(share, _share_of_sigmoids(expected, actual, logit_rounding))


def _share_of_sigmoids(expected: Floats, actual: Floats, logit_rounding: Floats) -> float:
    """Return the largest difference of the logarithms of p and of 1 - p as a share of what is allowed."""
    shares = []
    for exact, approximate in ((expected, actual), (1 - expected, 1 - actual)):
        exact, approximate = np.maximum(exact, _SIGMOID_ROUNDING), np.maximum(approximate, _SIGMOID_ROUNDING)
        rounding = _per_item(logit_rounding, exact) + _SIGMOID_ROUNDING / exact
        shares.append(_share(np.log(exact), np.log(approximate), rounding))
    return max(shares)


def _logit_rounding(reference: Outputs) -> Floats:
    """Return by how much rounding may change the logits of each item: float64[n]."""
    if "probabilities" not in reference:
        return np.zeros(1)
    probabilities = reference["probabilities"].astype(np.float64)
    logits = reference[LOGITS] if LOGITS in reference else _approximate_logits(probabilities, is_sigmoid=SIGMOID in reference)
    finite = np.nan_to_num(logits.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)  # -inf: an impossible class
    largest: Floats = _magnitudes(finite).max(axis=1, initial=0.0)
    return np.minimum(SCALE_TOLERANCE * largest, LARGEST_LOGIT_ROUNDING)


def _approximate_logits(probabilities: Floats, *, is_sigmoid: bool) -> Floats:
    """Return logits that have these probabilities, where the reference does not return them: [n, classes]."""
    logits = _logarithms(probabilities)
    if is_sigmoid:
        logits = logits - np.log(np.maximum(1 - probabilities, _SIGMOID_ROUNDING))
    return logits


def _share_of_roots(expected: Floats, actual: Floats, largest_value: Floats, noise: float) -> float:
    with np.errstate(invalid="ignore"):  # the root of a negative square is NaN, and fails
        expected_root, actual_root = np.sqrt(expected), np.sqrt(actual)
    # half the relative tolerance: the root of 1 + d is nearly 1 + d / 2
    permitted = ROOT_TOLERANCE * _per_item(largest_value, expected_root) + RELATIVE_TOLERANCE / 2 * expected_root + noise
    return _largest(np.abs(actual_root - expected_root) / np.maximum(permitted, np.finfo(np.float64).tiny))


def _logarithms(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, _LEAST_PROBABILITY))


def _largest_value(reference: Outputs) -> Floats:
    """Return a bound of each item's features and reconstruction: float64[n]. Features are reconstruction plus error."""
    magnitudes = []
    if "reconstruction" in reference:
        magnitudes.append(_magnitudes(reference["reconstruction"]))
    if "error_map" in reference:
        magnitudes.append(np.sqrt(_magnitudes(reference["error_map"])))
    return np.sum([values.max(axis=1, initial=0.0) for values in magnitudes], axis=0) if magnitudes else np.zeros(1)


def _per_item(numbers: Floats, values: Floats) -> Floats:
    """Reshape float64[n], or float64[1] for all items, so that it broadcasts over `values` [n, ...]."""
    return numbers.reshape(-1, *[1] * (values.ndim - 1))


def _magnitudes(values: Items) -> Floats:
    """Return the absolute values of each item, flattened: [n, ...] -> float64[n, elements]."""
    return np.abs(values.astype(np.float64)).reshape(len(values), -1)


def _largest(values: Floats) -> float:
    limit = np.finfo(np.float64).max
    return float(np.max(np.nan_to_num(values, nan=limit, posinf=limit), initial=0.0))
