"""Judge the windows and stretches of one stream, follow its alarm, and count both in the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from avizor.v1 import inference_pb2 as pb
from avizor_inference.anomaly.alarm import Alarm, AlarmRule
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.stretches import Stretches, StretchPlan, plan_stretches, stretch_rule
from avizor_inference.anomaly.verdict import Verdict, verdict
from avizor_inference.errors import InvalidInput
from avizor_inference.items.windows import Window, WindowFormat
from avizor_service import wire
from avizor_service.catalogue import OpenVersion
from avizor_service.gateway import Gateway
from avizor_service.keeping.alarm_sound import AlarmSound, Heard


@dataclass(frozen=True)
class StreamSettings:
    """Holds what decides the verdicts of a stream. model: the detector's name."""

    model: str
    source: str
    calibration_id: str
    alpha: float
    confidence: float | None
    plan: StretchPlan
    rule: AlarmRule
    channels: int  # windows at each place of the sound


class StreamJudge:
    """Judges the windows of one stream in their order."""

    def __init__(self, gateway: Gateway, settings: StreamSettings, judge: Judge, sound: AlarmSound | None = None) -> None:
        self._metrics, self._settings, self._judge = gateway.anomaly_metrics, settings, judge
        self._stretches, self._alarm = Stretches(settings.plan, settings.channels), Alarm(settings.rule)
        self._judged = self._flagged = 0
        self._sound = sound  # what is kept of it
        self._is_over = False

    def finish(self) -> None:
        """Say that what follows are the last windows of the stream, which belong to no stretch."""
        self._is_over = True

    def close(self) -> None:
        """Keep what is left to be kept, however the stream ends."""
        if self._sound:
            self._sound.close()

    def judge(self, answer: pb.MonitoredWindow, window: Window, score: float, *, is_short: bool) -> None:
        """Fill in the answer on the next window. is_short: whether it was filled up with zeros."""
        answer.score = score
        if not is_short or self._judge.count(is_short=True):
            p_values, _ = self._judge.window_p_values(self._settings.source, np.array([score]), is_short=is_short)
            answer.p_value = float(p_values[0])
        flagged = None
        if not self._is_over and (whole := self._stretches.push(score)):
            flagged = self._judge_stretch(answer, whole)
        answer.alarm = self._alarm.is_on
        if self._sound:
            self._sound.push(window, score, flagged, is_on=self._alarm.is_on)

    def started(self) -> pb.MonitorStarted:
        """Return what a client is told of the rule."""
        settings, plan, rule = self._settings, self._settings.plan, self._settings.rule
        return pb.MonitorStarted(
            calibration_id=settings.calibration_id,
            alpha=settings.alpha,
            windows_per_stretch=plan.windows,
            stretch_s=plan.period_s,
            stretches_to_alarm=rule.to_alarm,
            stretches_to_clear=rule.to_clear,
            false_alarms_per_hour=rule.per_hour,
            false_alarms_per_hour_if_exchangeable=rule.per_hour_if_exchangeable,
            judged_by=plan.judged_by,
        )

    def counts(self) -> tuple[int, int]:
        """Return how many stretches were flagged, and how many alarms have begun."""
        return self._flagged, self._alarm.begun

    def ended(self) -> pb.MonitorEnded:
        """Return what a client is told at the end."""
        return pb.MonitorEnded(stretches=self._judged, flagged=self._flagged, alarms=self._alarm.begun)

    def _judge_stretch(self, answer: pb.MonitoredWindow, whole: ItemScore) -> Verdict | None:
        """Judge a stretch. Return its verdict if it is flagged."""
        settings = self._settings
        judged = verdict(self._judge, settings.source, whole)
        self._metrics.count(settings.model, settings.source, judged, settings.calibration_id)
        is_flagged = bool(judged.is_anomaly(settings.alpha, settings.confidence))
        answer.stretch.score, answer.stretch.p_value = judged.score, judged.p_value or 0
        answer.stretch.is_flagged, answer.stretch.judged_by = is_flagged, judged.judged_by or ""
        self._judged += 1
        self._flagged += is_flagged
        answer.alarm_changed = self._alarm.push(is_flagged)
        if answer.alarm_changed and self._alarm.is_on:
            self._metrics.count_alarm(settings.model, settings.source)
        return judged if is_flagged else None


async def open_judge(
    gateway: Gateway, detector: OpenVersion, start: pb.MonitorStart, format: WindowFormat, channels: int
) -> StreamJudge:
    """Return what judges a stream, with the alarm that its start asks for.

    channels: windows at each place of the sound. Raises InvalidInput, and CalibrationError if the calibration does not support
    it.
    """
    alpha, most_per_hour = start.alpha or gateway.settings.alpha, start.false_alarms_per_hour or 1.0
    if not 0 < alpha < 1:
        raise InvalidInput(f"alpha {alpha:g} is not between 0 and 1", field="start.alpha")
    if not 0 < most_per_hour < inf:
        raise InvalidInput(
            f"false_alarms_per_hour {most_per_hour:g} is not a finite number over 0", field="start.false_alarms_per_hour"
        )
    calibration, judge = await gateway.threads.wait_for(detector.judging)
    if problem := wire.channel_problem(start.channel_mode, start.channels, calibration, detector.manifest.input):
        raise InvalidInput(problem, field="start.channel_mode")
    confidence = gateway.settings.confidence
    plan = plan_stretches(calibration, start.source, format, channels)
    rule = stretch_rule(
        calibration, plan, alpha, most_per_hour, confidence=confidence, assume_exchangeable=start.assume_exchangeable
    )
    name = detector.version.name
    gateway.anomaly_metrics.judged_by(name, calibration)
    settings = StreamSettings(name, start.source, calibration.id, alpha, confidence, plan, rule, channels)
    sound = None
    if gateway.keeper:
        heard = Heard(
            detector.version,
            calibration.id,
            judge,
            start.source,
            format,
            channels,
            plan.period_s * rule.to_alarm,
            alpha,
            confidence,
        )
        sound = AlarmSound(heard, gateway.keeper.offer)
    return StreamJudge(gateway, settings, judge, sound)
