"""Measure how many false alarms streams have, over 1,000 generated hours a row, and how soon a fault turns the alarm on.

    make bench-alarms

Scores of stretches are generated, in worlds where they depend on the ones before in different ways: exchangeable; under loads
that last for minutes (half of the variance of a score is the load's); and the worst that the bound allows, where flagged
stretches come k at a time. k is what the rule takes. Each hour has another calibration, of recordings from all times, since the
promise is on average over calibrations. Last, a small autoencoder hears generated sound through a gateway.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from alarm_sound import hours_of_sound

from avizor_inference.anomaly.alarm import Alarm, AlarmRule, FalseAlarms, alarm_rule

STRETCH_S = 10.0
PER_HOUR = 360

Generator = np.random.Generator
# Makes scores of one stream: float[stretches], each with a standard normal distribution.
World = Callable[[Generator, int, AlarmRule], np.ndarray]


def exchangeable(rng: Generator, stretches: int, rule: AlarmRule) -> np.ndarray:
    """Return scores that say nothing about each other."""
    return rng.standard_normal(stretches)


def loads(rng: Generator, stretches: int, rule: AlarmRule) -> np.ndarray:
    """Return scores of a machine whose load stays for 30 stretches (five minutes), and is half of their variance."""
    load = np.repeat(rng.standard_normal(stretches // 30 + 2), 30)[int(rng.integers(30)) :]
    scores: np.ndarray = np.sqrt(0.5) * (load[:stretches] + rng.standard_normal(stretches))
    return scores


def worst(rng: Generator, stretches: int, rule: AlarmRule) -> np.ndarray:
    """Return scores that come `to_alarm` at a time."""
    return np.repeat(rng.standard_normal(stretches // rule.to_alarm + 2), rule.to_alarm)[:stretches]


WORLDS: dict[str, World] = {"exchangeable": exchangeable, "loads of 5 minutes": loads, "k at a time": worst}


@dataclass(frozen=True)
class Measured:
    """Holds false alarms an hour, with the half width of their 95 % interval, and how soon a fault is heard.

    delay, late: stretches until its alarm, the median and the 95 % quantile; infinite if there is none within an hour.
    """

    rate: float
    half_width: float
    delay: float
    late: float


def simulate(world: World, expected: FalseAlarms, rule: AlarmRule, hours: int, seed: int, shift: float = 4.0) -> Measured:
    """Return what happens in so many hours, each with its calibration. shift: of a fault's scores, in standard deviations."""
    rng = np.random.default_rng(seed)
    begun, delays = [], []
    for _ in range(hours):
        limit = np.sort(rng.standard_normal(expected.count))[-expected.flagged]
        scores, alarm = world(rng, PER_HOUR, rule), Alarm(rule)
        for score in scores:
            alarm.push(bool(score > limit))
        begun.append(alarm.begun)
        delays.append(delay(world(rng, PER_HOUR, rule) + shift > limit, rule))
    spread = 1.96 * float(np.std(begun)) / sqrt(hours)
    # none in H hours: the rate is below 3 / H with 95 % confidence
    return Measured(
        float(np.mean(begun)),
        spread or 3 / hours,
        *(float(np.quantile(delays, share, method="higher")) for share in (0.5, 0.95)),
    )


def delay(flags: np.ndarray, rule: AlarmRule) -> float:
    """Return after how many stretches of a fault the alarm begins; infinite if it does not."""
    alarm = Alarm(rule)
    return next((place for place, flag in enumerate(flags, 1) if alarm.push(bool(flag))), float("inf"))


def table(hours: int) -> bool:
    """Print a row for each rule and world. Return whether each rate is within its bound."""
    print(f"{hours} hours a row, stretches of {STRETCH_S:g} s; a fault is 4 standard deviations; delays in seconds of sound")
    print("n     l  asked/h  assumes        k  world                bound/h  false alarms/h     delay: median   95 %")
    fine = True
    for count, flagged in ((30, 1), (99, 1), (400, 4)):
        for asked in (1.0, 0.1):
            for assumes in (False, True):
                expected = FalseAlarms(flagged, count, STRETCH_S)
                rule = alarm_rule(expected, asked, assume_exchangeable=assumes)
                for name, world in WORLDS.items():
                    seen = simulate(world, expected, rule, hours, seed=len(name))
                    bound = rule.per_hour_if_exchangeable if assumes else rule.per_hour
                    is_promised = not assumes or name == "exchangeable"
                    fine &= not is_promised or seen.rate - seen.half_width <= bound
                    print(
                        f"{count:<5} {flagged:<2} {asked:<8g} {'exchangeable' if assumes else 'nothing':<13} "
                        f"{rule.to_alarm:>3}  {name:<20} {f'{bound:.3g}' if is_promised else 'none':<8} "
                        f"{seen.rate:.3f} +- {seen.half_width:.3f}{seen.delay * STRETCH_S:>15g} {seen.late * STRETCH_S:>9g}"
                    )
    return fine


def main() -> None:
    """Print the tables; fail if there are more false alarms than a bound says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, default=1000, help="generated hours of each row")
    parser.add_argument("--sound-hours", type=float, default=4, help="hours of real sound through a model")
    arguments = parser.parse_args()
    fine = table(arguments.hours)
    with tempfile.TemporaryDirectory() as folder:
        fine &= hours_of_sound(Path(folder), arguments.sound_hours)
    if not fine:
        raise SystemExit("a rate is above its bound")


if __name__ == "__main__":
    main()
