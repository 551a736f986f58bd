"""How far an output may be from its reference: each is held to a scale of its own.

* Values: |found - reference| <= 1e-4 + 1e-3 |reference|.
* `score` and `error_map` are squares, and of a good reconstruction tiny ones: any error would be within 1e-4. Their roots are
  compared. |root(found) - root(reference)| is at most the largest difference of features and reconstruction (the triangle
  inequality, of a root mean square too), and that is rounding: a share of the item's largest value.
* `probabilities` near 0 and 1 tell nothing of the logits behind them: their logarithms are compared as well, as values.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from avizor_inference.errors import ExportError
from avizor_inference.reports import OutputDifference

ABSOLUTE_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-3
# Share of an item's largest value; 80 roundings of float32. Measured are up to 2.
ROOT_TOLERANCE = 1e-5
# Rarer classes are not told apart: float32, and fast softmaxes, end a little lower.
_LEAST_PROBABILITY = 1e-30
_SQUARES = ("score", "error_map")

Items = NDArray[np.generic]
Floats = NDArray[np.float64]
Outputs = Mapping[str, Items]


def differences(reference: Outputs, found: Outputs, sample: str) -> dict[str, OutputDifference]:
    """Of each output [n, ...] by name. Raises ExportError if one has another shape than its reference."""
    largest_value = _largest_value(reference)
    compared = {}
    for name, values in reference.items():
        if values.shape != found[name].shape:
            raise ExportError(
                f"the exported graph gives {list(found[name].shape)} for {name} where {list(values.shape)} is wanted ({sample})"
            )
        compared[name] = _difference(name, values.astype(np.float64), found[name].astype(np.float64), largest_value, sample)
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


def allowed(name: str) -> str:
    """What is allowed for an output, in words."""
    if name in _SQUARES:
        return f"of its root {ROOT_TOLERANCE:g} of the item's largest value + {RELATIVE_TOLERANCE / 2:g} of the root"
    words = f"{ABSOLUTE_TOLERANCE:g} + {RELATIVE_TOLERANCE:g} of the value"
    return words + (", and the same of the logarithm of probabilities" if name == "probabilities" else "")


def _difference(name: str, wanted: Floats, got: Floats, largest_value: Floats, sample: str) -> OutputDifference:
    absolute = np.abs(got - wanted)
    share = _share_of_roots(wanted, got, largest_value) if name in _SQUARES else _share(wanted, got)
    if name == "probabilities":
        share = max(share, _share(_logarithms(wanted), _logarithms(got)))
    return OutputDifference(
        largest_absolute=_largest(absolute),
        largest_relative=_largest(absolute / np.maximum(np.abs(wanted), ABSOLUTE_TOLERANCE)),
        sample=sample,
        share_of_allowed=share,
        passed=share <= 1,
    )


def _share(wanted: Floats, got: Floats) -> float:
    """The largest difference as a share of what is allowed."""
    return _largest(np.abs(got - wanted) / (ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(wanted)))


def _share_of_roots(wanted: Floats, got: Floats, largest_value: Floats) -> float:
    with np.errstate(invalid="ignore"):  # a square that is negative is NaN now, and fails
        root, other = np.sqrt(wanted), np.sqrt(got)
    noise = ROOT_TOLERANCE * largest_value.reshape(-1, *[1] * (root.ndim - 1))
    permitted = noise + RELATIVE_TOLERANCE / 2 * root  # half: the root of 1 + d is nearly 1 + d / 2
    return _largest(np.abs(other - root) / np.maximum(permitted, np.finfo(np.float64).tiny))


def _logarithms(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, _LEAST_PROBABILITY))


def _largest_value(reference: Outputs) -> Floats:
    """Bound of an item's features and reconstruction: float64[n]. Features are reconstruction plus error."""
    wide = [_by_item(reference[name]) for name in ("reconstruction",) if name in reference]
    wide += [np.sqrt(_by_item(reference[name])) for name in ("error_map",) if name in reference]
    return np.sum([values.max(axis=1, initial=0.0) for values in wide], axis=0) if wide else np.zeros(1)


def _by_item(values: Items) -> Floats:
    return np.abs(values.astype(np.float64)).reshape(len(values), -1)


def _largest(values: Floats) -> float:
    limit = np.finfo(np.float64).max
    return float(np.max(np.nan_to_num(values, nan=limit, posinf=limit), initial=0.0))
