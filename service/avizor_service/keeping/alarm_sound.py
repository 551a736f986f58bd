"""Gather the sound around the alarms of one stream: windows before, in and after an alarm, as the model heard them.

An alarm is kept as recordings of at most a minute, and only its first ten minutes: a machine that stays broken is not news.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.verdict import Verdict
from avizor_inference.arrays import Samples
from avizor_inference.items.audio import Level
from avizor_inference.items.kinds.base import FileForm, Span
from avizor_inference.items.pcm import wav_head
from avizor_inference.items.windows import Window, WindowFormat
from avizor_inference.repository.models import ModelVersion
from avizor_service.keeping.flagged import Flagged

# Seconds before the stretches that began an alarm, and after it.
AROUND_S = 5.0

# Of one recording, and of one alarm; and memory of one stream.
MOST_S, MOST_OF_ALARM_S = 60.0, 600.0
MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Heard:
    """Says what is listened to, and by whom. begins_s: how long an alarm takes to begin. channels: windows at each place."""

    model: ModelVersion
    calibration_id: str
    judge: Judge
    source: str
    format: WindowFormat
    channels: int
    begins_s: float
    alpha: float
    confidence: float | None


@dataclass
class _Place:
    """Holds the windows that begin at one sample. windows: float32[window] each, or float32[channels, window] of all."""

    start: int
    windows: list[Samples] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def shorten(self, hop: int) -> None:
        """Keep what the next place does not have."""
        self.windows = [window[..., :hop].copy() for window in self.windows]


class AlarmSound:
    """Follows one stream. offer: is called with each recording that is to be kept."""

    def __init__(self, heard: Heard, offer: Callable[[Flagged], None]) -> None:
        self._heard, self._offer = heard, offer
        format = heard.format
        assert format.sample_rate  # it is sound
        self._place_s = format.hop / format.sample_rate
        bytes_of_place = 4 * format.hop * max(heard.channels, format.channels)
        self._most = max(2, min(int(MOST_S / self._place_s), MOST_BYTES // bytes_of_place))
        self._before = min(int((heard.begins_s + AROUND_S) / self._place_s) + 1, self._most - 1)
        self._places: deque[_Place] = deque()
        self._next_start: int | None = None
        self._stretch: Verdict | None = None  # the latest that was flagged; of an alarm the most unusual one
        self._is_gathering = self._is_enough = False
        self._after = 0  # places that are wanted after the alarm
        self._kept_s = 0.0  # of the alarm

    def push(self, window: Window, score: float, stretch: Verdict | None, *, is_on: bool) -> None:
        """Take note of the next window. stretch: one that was flagged with it. is_on: whether there is an alarm, after it."""
        if stretch and not (self._is_gathering and self._stretch and _p(self._stretch) < _p(stretch)):
            self._stretch = stretch
        hop = self._heard.format.hop
        if not self._places or len(self._places[-1].windows) == self._heard.channels:
            if window.length < self._heard.format.window or self._next_start not in (None, window.start_sample):
                return  # the last window of a stream, which is filled up or moved back
            self._next_start = window.start_sample + hop
            self._places.append(_Place(window.start_sample))
        elif self._places[-1].start != window.start_sample:
            return
        self._places[-1].windows.append(window.samples)
        self._places[-1].scores.append(score)
        if len(self._places[-1].windows) == self._heard.channels:
            self._decide(is_on=is_on)

    def close(self) -> None:
        """Keep what was gathered of an alarm when the stream ends."""
        if self._places and len(self._places[-1].windows) < self._heard.channels:
            self._places.pop()
        if self._is_gathering:
            self._keep()

    def _decide(self, *, is_on: bool) -> None:
        """Keep or forget, when all windows of a place are there."""
        if len(self._places) > 1:
            self._places[-2].shorten(self._heard.format.hop)
        self._after = int(AROUND_S / self._place_s) + 1 if is_on else max(0, self._after - 1)
        is_last = not self._after
        self._is_gathering = self._is_gathering or (is_on and not self._is_enough)
        if self._is_gathering and (is_last or len(self._places) >= self._most):
            self._keep()
            self._is_enough = self._kept_s >= MOST_OF_ALARM_S
            self._is_gathering = not (is_last or self._is_enough)
        if is_last:
            self._is_enough, self._kept_s = False, 0.0
        while not self._is_gathering and len(self._places) > self._before:
            self._places.popleft()

    def _keep(self) -> None:
        """Let the gathered places be kept as one recording, and begin anew."""
        places, self._places = list(self._places), deque()
        if not places or self._stretch is None:
            return
        heard, first, level = self._heard, places[0].start, Level()
        self._kept_s += len(places) * self._place_s
        windows = heard.format.window
        of_channels = range(heard.channels)
        self._offer(
            Flagged(
                model=heard.model,
                calibration_id=heard.calibration_id,
                judge=heard.judge,
                source=heard.source,
                time_ns=time.time_ns(),
                file=partial(_wav, places, int(heard.format.sample_rate or 0), level),
                size=sum(window.nbytes for place in places for window in place.windows),
                spans=[Span(channel, place.start - first, windows) for place in places for channel in of_channels],
                scores=np.array([score for place in places for score in place.scores], dtype=np.float32),
                verdict=self._stretch,
                alpha=heard.alpha,
                confidence=heard.confidence,
                level=level,
            )
        )


def _p(verdict: Verdict) -> float:
    return 1.0 if verdict.p_value is None else verdict.p_value


def _wav(places: list[_Place], rate: int, level: Level) -> FileForm:
    """Return a WAV: of 16 bits where that keeps each sample, as they mostly came, else of floats. level: takes note of it."""
    samples = np.concatenate([np.stack(place.windows).reshape(-1, place.windows[0].shape[-1]) for place in places], axis=1)
    level.add(samples.T)
    level.sample_rate, level.channels = rate, len(samples)
    whole = np.rint(samples * 32768)
    if (whole == samples * 32768).all() and whole.max(initial=0) < 32768:
        format, data = "s16le", whole.T.astype("<i2").tobytes()
    else:
        format, data = "f32le", samples.T.astype("<f4").tobytes()
    return FileForm(".wav", wav_head(format, rate, len(samples), len(data)) + data)
