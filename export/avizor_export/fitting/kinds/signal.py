"""Look at signals, and choose channels and windows for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from avizor_export.fitting.choices import Choice
from avizor_export.fitting.kinds.base import Chosen, KindToFit, Wanted
from avizor_inference.error_text import named
from avizor_inference.errors import DatasetError, MediaError
from avizor_inference.items.audio_file import opened_sound
from avizor_inference.items.dataset import Entry
from avizor_inference.items.input_spec import SignalInput
from avizor_inference.items.kinds.base import Content, FileContent
from avizor_inference.items.signals.wav_files import MAGICS
from avizor_inference.items.signals.windows_of_signal import windows_of_signal
from avizor_inference.items.windows import WindowFormat

_MOST_CHANNELS = 32  # that are tried
_LOOKED_AT = 2**14  # steps of a window with which a signal is measured
USUAL_WINDOW = 256  # steps
LONGEST_WHOLE = 1024  # signals of one length up to this are one window each
_MULTIPLE = 8  # the network halves a window three times


class SignalsToFit(KindToFit):
    """See KindToFit."""

    modality, plural = "signal", "signals"

    def __init__(self) -> None:
        self.channels, self.steps, self.rates, self.constant = Counter[int](), list[int](), Counter[float](), list[str]()

    def look(self, entry: Entry, content: Content) -> None:
        """See KindToFit."""
        assert isinstance(content, FileContent)
        with content.open() as file:
            start = file.read(4)
            if any(start.startswith(magic) for magic in MAGICS):
                with opened_sound(file) as sound:
                    self.rates[sound.sample_rate] += 1
        problem = MediaError("it has no channels that can be told")
        likely = [channels for channels, _ in self.channels.most_common()]
        for channels in dict.fromkeys([*likely, *range(1, _MOST_CHANNELS + 1)]):
            layout = SignalInput(channels=channels, window_samples=_LOOKED_AT, hop_samples=_LOOKED_AT)
            try:
                with content.open() as file:
                    steps, is_constant = _measure(file, layout)
            except MediaError as error:
                problem = error if channels in (1, *likely) else problem
                continue
            self.channels[channels] += 1
            self.steps.append(steps)
            if is_constant:
                self.constant.append(entry.uri)
            return
        raise problem

    def warnings(self) -> Iterator[str]:
        """See KindToFit."""
        if len(self.constant) * 2 > len(self.steps):
            raise DatasetError(
                f"{len(self.constant)} of {len(self.steps)} signals that were looked at never change "
                f"({named(self.constant)}): nothing can be learnt from them; check how they were recorded"
            )
        if self.constant:
            yield f"signals that never change count as normal here: {named(self.constant)}; remove them, unless that is normal"
        if len(self.rates) > 1:
            rates = ", ".join(f"{count} at {rate:g} Hz" for rate, count in self.rates.most_common())
            yield f"the signals have several sample rates ({rates}), and are taken step by step; --sample-rate allows one"

    def choose(self, wanted: Wanted) -> Chosen:
        """See KindToFit."""
        if len(self.channels) > 1:
            counts = ", ".join(f"{count} have {channels}" for channels, count in self.channels.most_common())
            raise DatasetError(f"the signals differ in the number of channels: {counts}; fit a model for each")
        (channels,) = self.channels
        shortest, longest = min(self.steps), max(self.steps)
        rate = wanted.sample_rate or (next(iter(self.rates)) if len(self.rates) == 1 else None)
        unit = (lambda value: round(value * rate)) if rate else round
        if wanted.window_s:
            window, why = unit(wanted.window_s), ""
        elif shortest == longest <= LONGEST_WHOLE:
            window, why = _floor(shortest), "all signals have about this length, so each one is seen as a whole"
        else:
            window = _floor(min(USUAL_WINDOW, shortest))
            why = f"signals have {shortest} to {longest} steps, and a window of a few hundred shows what neighbouring steps do"
        hop = min(window, unit(wanted.hop_s)) if wanted.hop_s else window
        signal = SignalInput(channels=channels, window_samples=window, hop_samples=hop, sample_rate=rate)
        choices = [
            Choice("channels", str(channels), "all signals have so many"),
            Choice.given("window", f"{window} steps") if wanted.window_s else Choice("window", f"{window} steps", why),
            Choice.given("hop", f"{hop} steps")
            if wanted.hop_s
            else Choice("hop", f"{hop} steps", "windows side by side cover a signal once, at the least work"),
            Choice("front end", "standardised", "each channel is brought to mean 0 and deviation 1 of the training"),
        ]
        if rate:
            given = wanted.sample_rate is not None
            shown = f"{rate:g} Hz"
            choices.insert(
                0, Choice.given("sample rate", shown) if given else Choice("sample rate", shown, "all signals have it")
            )
        return Chosen(signal, tuple(choices))


def _measure(file: object, layout: SignalInput) -> tuple[int, bool]:
    """Return the steps of a signal, and whether it never changes."""
    format = WindowFormat(None, _LOOKED_AT, _LOOKED_AT)
    steps, is_constant, first = 0, True, None
    for window in windows_of_signal(file, layout, format):  # type: ignore[arg-type]
        steps = max(steps, window.start_sample + window.length)
        seen = window.samples[:, : window.length]
        first = seen[:, :1] if first is None else first
        is_constant = is_constant and bool((seen == first).all())
    return steps, is_constant


def _floor(steps: int) -> int:
    return max(_MULTIPLE, steps // _MULTIPLE * _MULTIPLE)
