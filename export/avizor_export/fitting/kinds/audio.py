"""Look at sounds, and choose sample rate, windows and log-mels for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from avizor_export.fitting.choices import Choice
from avizor_export.fitting.kinds.base import Chosen, KindToFit, Wanted
from avizor_inference.error_text import named
from avizor_inference.errors import DatasetError
from avizor_inference.items.audio_file import opened_sound
from avizor_inference.items.dataset import Entry
from avizor_inference.items.input_spec import AudioInput, LogMelFrontEnd
from avizor_inference.items.kinds.base import Content, FileContent

USUAL_RATE = 16_000  # Hz
HIGHEST_RATE = 48_000
# A higher rate is taken if so much of the energy is above what USUAL_RATE holds.
_HIGH = 0.05
FRAME_S = 0.064  # of the spectrum; frames begin after half of that
BANDS = 64
FRAMES = 64  # of a window, where recordings are long enough: 2 s
_LEAST_FRAMES = 8
# Of a classifier: frames, bands, and windows, which hold most recordings as a whole up to so many seconds.
CLASS_FRAME_S, CLASS_STEP_S, CLASS_BANDS = 0.032, 0.0125, 40
LONGEST_WHOLE_S, USUAL_CLASS_S = 4.0, 2.0
_SILENT = 1e-4  # of full scale: -80 dB
# A sample rate that fewer recordings have does not decide over that of the others.
_RARE = 0.05
# Seconds of each recording that are listened to.
_LISTENED_S = 10.0


class SoundsToFit(KindToFit):
    """See KindToFit."""

    modality, plural = "audio", "recordings"

    def __init__(self) -> None:
        self.rates, self.seconds, self.silent = Counter[int](), list[float](), list[str]()
        self.channels, self.high = Counter[int](), list[float]()

    def look(self, entry: Entry, content: Content) -> None:
        """See KindToFit. The beginning is listened to; the length is told by the header, or by reading on."""
        assert isinstance(content, FileContent)
        with content.open() as file, opened_sound(file) as sound:
            rate, frames, listened = sound.sample_rate, 0, list[np.ndarray]()
            told = getattr(sound, "frames", None)
            for block in sound.blocks():
                if frames < _LISTENED_S * rate:
                    listened.append(block.mean(axis=1))
                frames += len(block)
                if told and frames >= _LISTENED_S * rate:
                    frames = told
                    break
            self.rates[rate] += 1
            self.channels[sound.channels] += 1
            self.seconds.append(frames / rate)
        samples = np.concatenate(listened)
        if np.abs(samples).max(initial=0) < _SILENT:
            self.silent.append(entry.uri)
        else:
            self.high.append(_energy_above(samples, rate, USUAL_RATE / 2))

    def warnings(self) -> Iterator[str]:
        """See KindToFit."""
        if len(self.silent) * 2 > len(self.seconds):
            raise DatasetError(
                f"{len(self.silent)} of {len(self.seconds)} recordings that were listened to are silent "
                f"({named(self.silent)}): nothing can be learnt from them; check how they were recorded"
            )
        if self.silent:
            yield (
                f"silent recordings, {len(self.silent)} of {len(self.seconds)} that were listened to, count as normal here: "
                f"{named(self.silent)}; remove them, unless silence is normal"
            )
        if len(self.rates) > 1:
            rates = ", ".join(f"{count} at {rate} Hz" for rate, count in self.rates.most_common())
            yield (
                f"the recordings have several sample rates ({rates}), and all become the model's; where the rate depends on "
                "the source, record all at one rate, or the model may tell sources by it"
            )

    def choose(self, wanted: Wanted) -> Chosen:
        """See KindToFit."""
        rate = self._rate(wanted)
        window, frame, hop = self._window(wanted, int(rate.value.split()[0]))
        sample_rate = int(rate.value.split()[0])
        samples = frame + (window - 1) * (frame // 2)
        hop_samples = min(samples, round(wanted.hop_s * sample_rate)) if wanted.hop_s else samples
        front_end = LogMelFrontEnd(n_fft=frame, hop_length=frame // 2, n_mels=BANDS)
        sound = AudioInput(sample_rate=sample_rate, window_samples=samples, hop_samples=hop_samples, front_end=front_end)
        shown = f"{samples / sample_rate:.3g} s"
        choices = (
            rate,
            *self._channels(wanted),
            Choice(
                "front end",
                f"log-mel, {BANDS} bands",
                f"normal sound is told by its energy in frequency bands; frames of {1000 * frame / sample_rate:.0f} ms, a new "
                f"one each {500 * frame / sample_rate:.0f} ms",
            ),
            Choice.given("window", shown) if wanted.window_s else Choice("window", shown, hop),
            Choice.given("hop", f"{hop_samples / sample_rate:.3g} s")
            if wanted.hop_s
            else Choice("hop", shown, "windows side by side cover a recording once, at the least work"),
        )
        return Chosen(sound, choices)

    def choose_for_classes(self, wanted: Wanted) -> Chosen:
        """See KindToFit. A class may be told by any part of a recording: windows hold short ones as a whole, and overlap."""
        rate = self._rate(wanted)
        sample_rate = int(rate.value.split()[0])
        frame, step = 2 ** round(np.log2(CLASS_FRAME_S * sample_rate)), round(CLASS_STEP_S * sample_rate)
        most = float(np.quantile(self.seconds, 0.95))
        window_s = wanted.window_s or (most if most <= LONGEST_WHOLE_S else USUAL_CLASS_S)
        frames = max(_LEAST_FRAMES, -(-(round(window_s * sample_rate) - frame) // step) + 1)
        samples = frame + (frames - 1) * step
        hop_samples = min(samples, round(wanted.hop_s * sample_rate)) if wanted.hop_s else max(1, samples // 2)
        front_end = LogMelFrontEnd(
            n_fft=frame, hop_length=step, n_mels=CLASS_BANDS, f_min=min(50.0, sample_rate / 8), floor=1e-8
        )
        sound = AudioInput(sample_rate=sample_rate, window_samples=samples, hop_samples=hop_samples, front_end=front_end)
        shown, hop = f"{samples / sample_rate:.3g} s", f"{hop_samples / sample_rate:.3g} s"
        why = f"95 % of the recordings last {most:.2g} s at most, and each is seen as a whole"
        if most > LONGEST_WHOLE_S:
            why = f"recordings are longer (95 % last up to {most:.2g} s), and {USUAL_CLASS_S:g} s tell most"
        choices = (
            rate,
            Choice(
                "front end",
                f"log-mel, {CLASS_BANDS} bands",
                f"classes of sound are told by how the energy in frequency bands changes; frames of "
                f"{1000 * frame / sample_rate:.0f} ms, a new one each {1000 * step / sample_rate:.3g} ms",
            ),
            Choice.given("window", shown) if wanted.window_s else Choice("window", shown, why),
            Choice.given("hop", hop)
            if wanted.hop_s
            else Choice("hop", hop, "windows overlap by half: what one cuts is whole in the next"),
        )
        return Chosen(sound, choices)

    def _channels(self, wanted: Wanted) -> Iterator[Choice]:
        """Yield what is taken of recordings of several channels, if there are any."""
        several = sum(count for channels, count in self.channels.items() if channels > 1)
        if several and wanted.channels != "each":
            yield Choice.given("channels", wanted.channels)
        elif several:
            why = f"{several} of {len(self.seconds)} recordings have several; --channels mix or N takes their mean, or one"
            yield Choice("channels", "each by itself", why)

    def _rate(self, wanted: Wanted) -> Choice:
        if wanted.sample_rate:
            return Choice.given("sample rate", f"{wanted.sample_rate:.0f} Hz")
        total = sum(self.rates.values())
        lowest = min(rate for rate, count in self.rates.items() if count >= _RARE * total)
        if lowest <= USUAL_RATE:
            why = (
                "all recordings have it"
                if len(self.rates) == 1
                else "it is the lowest that 5 % of them have, and more cannot be won back"
            )
            return Choice("sample rate", f"{lowest} Hz", why)
        high = float(np.median(self.high)) if self.high else 0.0
        if high > _HIGH:
            rate = min(lowest, HIGHEST_RATE)
            return Choice("sample rate", f"{rate} Hz", f"{high:.0%} of the energy is above {USUAL_RATE // 2000} kHz")
        return Choice(
            "sample rate", f"{USUAL_RATE} Hz", f"{1 - high:.1%} of the energy is below {USUAL_RATE // 2000} kHz, which it holds"
        )

    def _window(self, wanted: Wanted, rate: int) -> tuple[int, int, str]:
        """Return the frames of a window, the samples of a frame, and the reason."""
        frame = 2 ** round(np.log2(FRAME_S * rate))
        short = float(np.quantile(self.seconds, 0.02))
        target = wanted.window_s or min((frame + (FRAMES - 1) * frame // 2) / rate, short)
        while frame > 64 and (frame + (_LEAST_FRAMES - 1) * frame // 2) / rate > target:
            frame //= 2
        frames = max(_LEAST_FRAMES, int((target * rate - frame) / (frame / 2) + 1 + 1e-9) // 8 * 8)
        long = frame + (FRAMES - 1) * frame // 2
        if short * rate >= long:
            return (
                min(frames, FRAMES) if not wanted.window_s else frames,
                frame,
                "recordings are longer, and about 2 s tell most",
            )
        return frames, frame, f"all but 2 % of the recordings last {short:.2g} s or longer, and shorter ones are judged apart"


def _energy_above(samples: np.ndarray, rate: int, frequency: float) -> float:
    """Return which share of the energy of a sound is above a frequency, in Hz."""
    if rate / 2 <= frequency:
        return 0.0
    power = np.abs(np.fft.rfft(samples - samples.mean())) ** 2
    return float(power[int(frequency * len(samples) / rate) :].sum() / max(float(power.sum()), 1e-30))
