"""When the alarm of a stream begins and ends, and how many false alarms that can cost. Needs no model and no sound.

A stream is judged in stretches (stretches.py): each is as long as a recording of the calibration and is judged like one, by its
p-value among n calibration recordings. It is flagged if at most l - 1 of their scores are as large. An alarm begins at the k-th
flagged stretch. It ends at the last of m stretches in a row that are not flagged. After these, flagged ones are counted anew,
also if there was no alarm. So a fault need not flag every stretch.

With S stretches an hour, the expected number of alarms in an hour of normal sound, on average over calibrations, is at most

(1) S l / ((n + 1) k), if each stretch, by itself, is exchangeable with the calibration recordings. Stretches may depend on each
    other in any way. Proof: such a stretch is flagged with a probability of at most l / (n + 1) (Vovk, Gammerman and Shafer,
    "Algorithmic learning in a random world", 2005), so that in H hours from the start of the stream at most H S l / (n + 1) are
    flagged, on average. Between two beginnings of an alarm the count starts anew, so that each beginning has k flagged
    stretches to itself. The bound cannot be lowered: it is reached if flagged stretches come k at a time.

(2) S m^(k - 1) prod (l + i) / (n + 1 + i), i = 0 to k - 1, if the stretches and the n recordings are exchangeable together.
    Proof: among n + i + 1 exchangeable scores, of which i are known to be above the l-th largest of the n, the next one is
    above it with a probability of at most (l + i) / (n + i + 1), which is Polya's urn. The product is the probability that k
    particular stretches are all flagged, without equal scores (Gazin, Blanchard and Roquain, "Transductive conformal
    inference with adaptive scores", 2024). An alarm begins only at the last of k flagged ones, each of which comes 1 to m
    stretches after the one before: at one of S places, in one of m^(k - 1) ways. A larger k never has more alarms, so where
    the bound would grow with k that of the smaller k holds.

(2) is far smaller, but sound seldom has no memory: a machine that runs under an unusual load does so for many stretches. So (1)
decides about k unless the caller says that (2) may.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil, exp, floor, lgamma, log, log10

from avizor_inference.errors import CalibrationError

SECONDS_PER_HOUR = 3600.0

# The longest row of flagged stretches that an alarm may take, in seconds of sound, if it takes more than one.
LONGEST_ROW_S = 3600.0

# m. An alarm that ends at the first stretch that is not flagged would begin again and again in one fault.
TO_CLEAR = 3

_ROUNDING = 1e-9


@dataclass(frozen=True)
class FalseAlarms:
    """Computes how many false alarms an hour there are at most, for rules of any length.

    flagged: l, of 1 to `count`. count: n, calibration recordings. stretch_s: seconds from one stretch to the next.
    """

    flagged: int
    count: int
    stretch_s: float

    @property
    def share(self) -> float:
        """Return the share of normal stretches that are flagged, at most."""
        return self.flagged / (self.count + 1)

    def per_hour(self, to_alarm: int) -> float:
        """Return bound (1) for alarms that take so many flagged stretches."""
        return SECONDS_PER_HOUR / self.stretch_s * self.share / to_alarm

    def per_hour_if_exchangeable(self, to_alarm: int) -> float:
        """Return bound (2), or (1) if that is smaller."""
        # from here on the product grows with each factor
        turning = max(1, ceil((self.count + 1 - TO_CLEAR * self.flagged) / (TO_CLEAR - 1)))
        stretches = min(to_alarm, turning)
        ways = SECONDS_PER_HOUR / self.stretch_s * all_flagged(self.flagged, self.count, stretches, TO_CLEAR)
        return min(ways, self.per_hour(to_alarm))


@dataclass(frozen=True)
class AlarmRule:
    """Says when an alarm begins and ends, and how many false alarms an hour that can cost at most.

    to_alarm: flagged stretches. to_clear: stretches in a row that are not flagged, after which flagged ones count anew.
    per_hour: bound (1). per_hour_if_exchangeable: bound (2).
    """

    to_alarm: int
    to_clear: int
    per_hour: float
    per_hour_if_exchangeable: float


def all_flagged(flagged: int, count: int, stretches: int, ways: int = 1) -> float:
    """Return the probability, at most, that so many stretches are all flagged if they and `count` recordings are exchangeable.

    flagged: l, of 1 to `count`: a stretch is flagged if at most l - 1 of the recordings have a score as large. ways: number of
    places of each after the one before, for which the probability is multiplied.
    """
    # the product of bound (2), by the gamma function: it may have thousands of factors
    rising = lgamma(flagged + stretches) - lgamma(flagged)
    return exp(rising - lgamma(count + 1 + stretches) + lgamma(count + 1) + (stretches - 1) * log(ways))


def alarm_rule(expected: FalseAlarms, most_per_hour: float, *, assume_exchangeable: bool = False) -> AlarmRule:
    """Return the rule with the fewest stretches that costs at most `most_per_hour` false alarms an hour.

    assume_exchangeable: bound (2) decides. Raises CalibrationError, with what would help, if the alarm would take more than an
    hour of flagged stretches.
    """
    bound = expected.per_hour_if_exchangeable if assume_exchangeable else expected.per_hour
    longest = max(1, floor(LONGEST_ROW_S / expected.stretch_s))
    # A bound falls with the number of stretches.
    to_alarm = 1 + bisect_left(range(1, longest + 1), -most_per_hour * (1 + _ROUNDING), key=lambda k: -bound(k))
    if to_alarm > longest:
        raise CalibrationError(
            f"{most_per_hour:g} false alarms an hour cannot be kept with {expected.share:.2g} of the normal stretches flagged: "
            f"an alarm would take more than {longest} flagged stretches of {expected.stretch_s:g} s, which is over an hour; "
            f" ask for {_rounded_up(bound(longest))} or more, give a smaller alpha with more calibration recordings"
            + ("" if assume_exchangeable else ", or set assume_exchangeable if one stretch says nothing about the next")
        )
    return AlarmRule(to_alarm, TO_CLEAR, expected.per_hour(to_alarm), expected.per_hour_if_exchangeable(to_alarm))


class Alarm:
    """Follows the alarm of one stream. is_on: whether it is on now. begun: how often it has begun."""

    def __init__(self, rule: AlarmRule) -> None:
        self.is_on, self.begun = False, 0
        self._rule = rule
        self._flagged = 0  # since the count began
        self._calm = 0  # in a row

    def push(self, is_flagged: bool) -> bool:
        """Take note of the next stretch. Return whether it turned the alarm on or off."""
        before = self.is_on
        self._flagged, self._calm = (self._flagged + 1, 0) if is_flagged else (self._flagged, self._calm + 1)
        if self._calm >= self._rule.to_clear:
            self._flagged, self.is_on = 0, False
        elif not before and self._flagged >= self._rule.to_alarm:
            self.begun, self.is_on = self.begun + 1, True
        return self.is_on != before


def _rounded_up(value: float) -> str:
    """Return a number with two digits that is not below `value`."""
    step = 10.0 ** (floor(log10(value)) - 1)
    return f"{ceil(value / step - _ROUNDING) * step:.2g}"
