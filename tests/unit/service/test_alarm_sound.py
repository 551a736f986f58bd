"""keeping/alarm_sound.py: what of a stream is kept, in bounded memory, in files that have just the windows that were judged."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.anomaly.verdict import verdict
from avizor_inference.items.audio import Level
from avizor_inference.items.decode import decode_item
from avizor_inference.items.input_spec import AudioInput, WaveformFrontEnd
from avizor_inference.items.kinds.audio import SoundFile
from avizor_inference.items.windows import Windower, WindowFormat
from avizor_inference.repository.models import ModelRepository
from avizor_service.keeping.alarm_sound import MOST_BYTES, AlarmSound, Heard
from avizor_service.keeping.flagged import Flagged

RATE = 8000


class Stream:
    """Feeds noise to an AlarmSound, with the alarm on where `alarm` says so; keeps what was offered, and what was heard."""

    def __init__(self, models: Path, window: int, hop: int, channels: int = 1, together: bool = False, bits: int = 16) -> None:
        version = ModelRepository(models).version("normal")
        (calibration,) = version.calibrations()
        self.format = WindowFormat(RATE, window, hop, channels if together else 1)
        judge = Judge(calibration)
        self.odd = verdict(judge, "a", ItemScore.of(np.full(3, 1e3, np.float32)))
        self.kept: list[Flagged] = []
        heard = Heard(version, calibration.id, judge, "a", self.format, 1 if together else channels, 1.5, 0.05, None)
        self.sound = AlarmSound(heard, self.kept.append)
        self.windower = Windower(self.format, channels, together=together)
        self.rng, self.channels, self.bits, self.number, self.most = np.random.default_rng(0), channels, bits, 0, 0
        self.all: list[np.ndarray] = []

    def play(self, seconds: float, *, alarm: bool) -> None:
        samples = self.rng.uniform(-0.9, 0.9, (int(seconds * RATE), self.channels)).astype(np.float32)
        if self.bits == 16:
            samples = np.rint(samples * 32768).astype(np.int16).astype(np.float32) / np.float32(32768)
        self.all.append(samples)
        for first in range(0, len(samples), 1000):
            for window in self.windower.push(samples[first : first + 1000]):
                self.number += 1
                self.sound.push(window, float(self.number), self.odd if alarm else None, is_on=alarm)
            held = sum(each.nbytes for place in self.sound._places for each in place.windows)
            self.most = max(self.most, held)

    def end(self) -> None:
        for window in self.windower.finish():
            self.sound.push(window, -1.0, None, is_on=False)
        self.sound.close()

    def check(self) -> list[tuple[float, float]]:
        """Each recording has the samples that were heard, and just its windows. Return where it is, in seconds."""
        format, everything = self.format, np.concatenate(self.all)
        spec = AudioInput(
            sample_rate=RATE,
            window_samples=format.window,
            hop_samples=format.hop,
            channels=format.channels,
            front_end=WaveformFrontEnd(layout="NCS" if format.channels > 1 else "NS"),
        )
        places = []
        per_place = self.channels if format.channels == 1 else 1
        for each in self.kept:
            form = each.file()
            item = decode_item(SoundFile(form.data), spec)
            start = int((each.scores[0] - 1) // per_place) * format.hop
            samples = item.rows[0] if format.channels > 1 else item.rows[:per_place]
            np.testing.assert_array_equal(np.atleast_2d(samples), everything[start : start + format.window].T)
            assert list(item.spans) == list(each.spans)
            np.testing.assert_array_equal(np.diff(each.scores), 1)
            places.append((start / RATE, (start + item.spans[-1].end_sample) / RATE if item.spans[-1] else 0.0))
            assert isinstance(each.level, Level)
            assert 0.8 < each.level.peak < 1
        return places


@pytest.mark.parametrize(
    ("window", "hop", "channels", "together", "bits"),
    [
        (4000, 4000, 1, False, 16),
        (4000, 1000, 1, False, 32),
        (4000, 3999, 2, False, 16),
        (4000, 1000, 2, False, 32),
        (4000, 1000, 2, True, 16),
    ],
)
def test_one_alarm_is_one_recording_with_sound_around_it(
    models: Path, window: int, hop: int, channels: int, together: bool, bits: int
) -> None:
    stream = Stream(models, window, hop, channels, together, bits)
    stream.play(10, alarm=False)
    stream.play(10, alarm=True)
    stream.play(10, alarm=False)
    stream.end()
    ((start, end),) = stream.check()
    assert 10 - 1.5 - 5 - 1.1 < start < 10 - 5
    assert 20 + 4 < end < 20 + 6.6


def test_an_alarm_of_twelve_minutes_is_kept_for_ten_minutes_in_recordings_of_a_minute_without_a_gap(models: Path) -> None:
    stream = Stream(models, 4000, 4000)
    stream.play(60, alarm=False)
    stream.play(720, alarm=True)
    places = stream.check()
    assert len(places) == 10
    assert places[0][0] < 56
    assert all(end - start == pytest.approx(60, abs=1) for start, end in places)
    assert all(before[1] == after[0] for before, after in pairwise(places))
    stream.play(60, alarm=False)
    assert len(stream.kept) == 10
    stream.play(10, alarm=True)
    stream.end()
    assert len(stream.kept) == 11, "the next alarm is another one"
    assert stream.most <= 61 * RATE * 4


def test_a_stream_of_many_channels_takes_bounded_memory(models: Path) -> None:
    stream = Stream(models, 4000, 400, 64)
    stream.play(5, alarm=False)
    stream.play(10, alarm=True)
    stream.end()
    stream.check()
    assert stream.most <= MOST_BYTES + 2 * 64 * 4000 * 4


def test_a_stream_that_ends_in_an_alarm_keeps_it_and_one_without_an_alarm_keeps_nothing(models: Path) -> None:
    stream = Stream(models, 4000, 2000, 2)
    stream.play(7.3, alarm=False)
    stream.play(3.9, alarm=True)
    stream.end()
    ((start, end),) = stream.check()
    assert start < 2
    assert end > 10.5
    calm = Stream(models, 4000, 2000)
    calm.play(20, alarm=False)
    calm.end()
    assert calm.kept == []
