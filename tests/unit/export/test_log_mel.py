"""front_ends/log_mel.py, fourier_stages.py and mel_filters.py.

The log-mel in its exported graph against an oracle in float64: librosa's framing and filters, numpy's transform.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import onnxruntime as ort
import pytest
import scipy.signal
import soundfile
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from support.environment import DATA
from torch import Tensor, nn

from avizor_export.front_ends.fourier_stages import best_split
from avizor_export.front_ends.log_mel import LogMel
from avizor_export.front_ends.mel_filters import analysis_window, empty_bands, mel_filters
from avizor_export.graph.to_onnx import to_program
from avizor_inference.items.input_spec import AudioInput, LogMelFrontEnd

Run = Callable[[list[LogMelFrontEnd], NDArray[np.float32]], list[NDArray[np.float32]]]

RATE = 8000
SAMPLES = 4000

SETS: list[dict[str, Any]] = [
    *({"n_fft": n_fft, "hop_length": hop} for n_fft, hop in ((256, 80), (512, 160), (1024, 512), (400, 160), (400, 7))),
    # Frames are cut before the transform where hop and n_fft share too little.
    *({"n_fft": n_fft, "hop_length": hop} for n_fft, hop in ((512, 135), (1024, 441), (400, 399))),
    *({"n_fft": n_fft, "hop_length": hop, "center": True} for n_fft, hop in ((401, 100), (375, 125))),
    *({"window": window, "center": center} for window in ("hamming", "blackman", "boxcar") for center in (False, True)),
    *({"center": True, "pad_mode": "reflect", "n_fft": n_fft} for n_fft in (256, 512)),
    *({"mel_scale": scale, "norm": norm} for scale, norm in (("slaney", "none"), ("htk", "slaney"), ("htk", "none"))),
    *({"power": power, "log": log} for power in (1, 2) for log in ("natural", "log10", "db")),
    *({"win_length": length} for length in (200, 401)),
    {"f_min": 300.0, "f_max": 3000.0},
    {"floor": 1e-5, "n_fft": 1024, "hop_length": 160, "n_mels": 40, "mean": (-3.0,), "std": (2.0,)},
    # Some bands hold no frequency bin.
    {"mel_scale": "htk", "n_mels": 128},
]
# Each way through the code, for tests of the graph that do not take minutes: exporting is what costs.
FEW_SETS: list[dict[str, Any]] = [
    {},
    {"n_fft": 512, "hop_length": 135},
    {"n_fft": 400, "hop_length": 7, "window": "hamming"},
    {"center": True, "pad_mode": "reflect", "power": 1, "log": "db"},
]
SPOKEN = ("0_george_0", "4_jackson_31", "7_george_11", "0_lucas_31", "3_theo_12", "5_yweweler_20", "1_nicolas_3")


def parameters(changes: dict[str, Any]) -> LogMelFrontEnd:
    return LogMelFrontEnd.model_validate({"n_fft": 512, "hop_length": 128, "n_mels": 24} | changes)


def voice() -> NDArray[np.float32]:
    """A vowel made of glottal pulses through three resonances, then a hiss: speech where there are no recordings."""
    time = np.arange(SAMPLES) / RATE
    pulses = np.diff(np.floor(np.cumsum(120 + 30 * np.sin(8 * time)) / RATE), prepend=0)
    for hz, width in ((700, 80), (1220, 90), (2600, 120)):
        radius = np.exp(-np.pi * width / RATE)
        pulses = scipy.signal.lfilter([1.0], [1, -2 * radius * np.cos(2 * np.pi * hz / RATE), radius**2], pulses)
    hiss = np.diff(np.random.default_rng(0).standard_normal(SAMPLES), prepend=0)
    sound = np.where(time < 0.3, pulses / np.abs(pulses).max(), 0.05 * hiss)
    return np.asarray(0.5 * sound, np.float32)


@functools.cache
def clips() -> dict[str, NDArray[np.float32]]:
    """float32[samples] each, by kind and name. Real speech is among them where there is some."""
    time = np.arange(SAMPLES) / RATE
    speech = {"voice": voice()}
    folder = DATA / "fsdd"
    if folder.is_dir():
        speech |= {name: spoken(folder / f"{name}.wav") for name in SPOKEN}
    sounds: dict[str, NDArray[Any]] = {
        "silence": np.zeros(SAMPLES),
        "dc": np.ones(SAMPLES),
        **{f"speech {name}": samples for name, samples in speech.items()},
        **{f"clipping {name}": np.clip(20 * samples, -1, 1) for name, samples in list(speech.items())[:3]},
        **{f"sine {hz} Hz": np.sin(2 * np.pi * hz * time) for hz in (50, 440, 1000, 1234.5, 3000.1, 3900, 3990, 3999)},
    }
    return {name: samples.astype(np.float32) for name, samples in sounds.items()}


def spoken(path: Path) -> NDArray[np.float32]:
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return np.resize(samples, SAMPLES)


def oracle(waveforms: NDArray[np.float32], wanted: LogMelFrontEnd) -> NDArray[np.float64]:
    """Mel values of float32[clips, samples] before the floor: float64[clips, mels, frames]."""
    samples = waveforms.astype(np.float64)
    if wanted.center:
        half = wanted.n_fft // 2
        samples = np.pad(samples, ((0, 0), (half, half)), mode=wanted.pad_mode)
    window = librosa.filters.get_window(wanted.window, wanted.win_length or wanted.n_fft, fftbins=True)
    window = librosa.util.pad_center(window, size=wanted.n_fft)
    frames = librosa.util.frame(samples, frame_length=wanted.n_fft, hop_length=wanted.hop_length)
    magnitude = np.abs(np.fft.rfft(frames * window[:, None], axis=1))
    return np.asarray(librosa_filters(wanted) @ magnitude**wanted.power)


def librosa_filters(wanted: LogMelFrontEnd) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of empty filters
        return librosa.filters.mel(
            sr=RATE,
            n_fft=wanted.n_fft,
            n_mels=wanted.n_mels,
            fmin=wanted.f_min,
            fmax=wanted.f_max,
            htk=wanted.mel_scale == "htk",
            norm=None if wanted.norm == "none" else "slaney",
            dtype=np.float64,
        )


def logarithm(mel: NDArray[np.float64], wanted: LogMelFrontEnd) -> NDArray[np.float64]:
    return np.asarray(np.log(mel) * unit(wanted))


def linear(log_mel: NDArray[np.float64], wanted: LogMelFrontEnd) -> NDArray[np.float64]:
    return np.asarray(np.exp(log_mel / unit(wanted)))


def unit(wanted: LogMelFrontEnd) -> float:
    """Of the logarithm, in nepers of what goes into it."""
    return {"natural": 1.0, "log10": 1.0, "db": 20 / wanted.power}[wanted.log] / (1 if wanted.log == "natural" else np.log(10))


class Several(nn.Module):
    """Several front ends on one waveform: one export for all costs a fraction of an export for each."""

    def __init__(self, front_ends: list[LogMel]) -> None:
        super().__init__()
        self.front_ends = nn.ModuleList(front_ends)

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        return tuple(front_end(waveform) for front_end in self.front_ends)


def through_onnx(wanted: list[LogMelFrontEnd], waveforms: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    outputs = [str(number) for number in range(len(wanted))]
    front_ends = Several([LogMel(each, RATE) for each in wanted])
    program = to_program(front_ends, torch.zeros(2, SAMPLES), ["waveform"], outputs, optimize=False)
    proto = program.model_proto
    assert {node.domain for node in proto.graph.node} <= {""}
    assert "STFT" not in {node.op_type for node in proto.graph.node}
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"waveform": waveforms})  # type: ignore[no-any-return]


def through_torch(wanted: list[LogMelFrontEnd], waveforms: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    with torch.inference_mode():
        return [LogMel(each, RATE)(torch.from_numpy(waveforms)).numpy() for each in wanted]


def compare(
    sets: list[dict[str, Any]],
    run: Run,
    holds: Callable[[str, Compared, LogMelFrontEnd], bool],
    compensated: bool,
) -> None:
    """Every set on every clip; fails with all that does not hold."""
    waveforms = np.stack([*clips().values()])
    wanted = [parameters(changes | {"compensated": compensated}) for changes in sets]
    wrong = []
    for changes, each, found in zip(sets, wanted, run(wanted, waveforms), strict=True):
        assert found.shape == (len(waveforms), 1, each.n_mels, each.frames(SAMPLES))
        for name, log_mel, mel in zip(clips(), found[:, 0].astype(np.float64), oracle(waveforms, each), strict=True):
            compared = Compared(log_mel * each.std[0] + each.mean[0], mel, each)
            if not holds(name.partition(" ")[0], compared, each):
                wrong.append(f"{changes}, {name}: {compared}")
    assert not wrong, "\n".join(wrong)


class Compared:
    """How far a log-mel is from the oracle's mel values.

    near: in the logarithm's own unit, within 80 dB of the clip's peak; elsewhere: of power, in shares of the clip's peak;
    amplitude: near, of the amplitude, in shares of what a full-scale tone in the middle of the loudest band gives.
    """

    def __init__(self, log_mel: NDArray[np.float64], mel: NDArray[np.float64], wanted: LogMelFrontEnd) -> None:
        floored = np.maximum(mel, wanted.floor)
        # 80 dB: 1e-8 of the power, 1e-4 of the amplitude.
        near = floored >= mel.max() * 10.0 ** (-4 * wanted.power)
        self.near = np.abs(log_mel - logarithm(floored, wanted))[near].max(initial=0)
        found, peak = linear(log_mel, wanted), floored.max()
        # The bound is on power; with power = 1 the mel values are amplitudes, whose power is their square.
        squares = np.abs(found ** (2 / wanted.power) - floored ** (2 / wanted.power)) / peak ** (2 / wanted.power)
        self.elsewhere = squares[~near].max(initial=0)
        amplitudes = np.abs(found ** (1 / wanted.power) - floored ** (1 / wanted.power))
        tone = analysis_window(wanted).sum() / 2 * librosa_filters(wanted).max() ** (1 / wanted.power)
        self.amplitude = amplitudes[near].max(initial=0) / tone

    def __str__(self) -> str:
        return f"log {self.near:.2e}, power {self.elsewhere:.2e}, amplitude {self.amplitude:.2e}"


RUNS = pytest.mark.parametrize(
    ("sets", "run"),
    [
        pytest.param(FEW_SETS, through_torch, id="torch"),
        pytest.param(SETS, through_torch, id="torch-all", marks=pytest.mark.slow),
        pytest.param(FEW_SETS, through_onnx, id="onnx"),
        pytest.param(SETS, through_onnx, id="onnx-all", marks=pytest.mark.slow),
    ],
)


@pytest.mark.slow
@RUNS
def test_compensated_log_mels_agree_with_the_oracle(sets: list[dict[str, Any]], run: Run) -> None:
    """Within 80 dB of the clip's peak logarithms differ by at most 1e-4, elsewhere powers by at most 1e-7 of the peak.

    But for full-scale tones as amplitudes in dB, whose unit is nine times finer: 1e-3.
    """

    def holds(kind: str, compared: Compared, wanted: LogMelFrontEnd) -> bool:
        fine = kind == "sine" and wanted.power == 1 and wanted.log == "db"
        return bool(compared.near <= (1e-3 if fine else 1e-4) and compared.elsewhere <= 1e-7)

    assert len(SETS) >= 24
    compare(sets, run, holds, compensated=True)


# Within 80 dB of the clip's peak, in the logarithm's unit. What is rounded to float32 at the height of the peak shows there.
PLAIN_BOUNDS = {"silence": 1e-4, "clipping": 1e-4, "speech": 1e-3, "dc": 1e-3, "sine": 0.5}


@RUNS
def test_plain_log_mels_agree_with_the_oracle(sets: list[dict[str, Any]], run: Run) -> None:
    """Amplitudes are right to 1e-6 of a full-scale tone: float32 resolves 6e-8, an error of 1e-4 at -80 dB is 5e-9."""

    def holds(kind: str, compared: Compared, wanted: LogMelFrontEnd) -> bool:
        return bool(compared.near <= PLAIN_BOUNDS[kind] and compared.elsewhere <= 1e-7 and compared.amplitude <= 1e-6)

    compare(sets, run, holds, compensated=False)


@pytest.mark.parametrize(
    ("n_fft", "hop", "split"),
    [
        (512, 160, (32, 16, False)),
        (1024, 512, (64, 16, False)),
        (400, 160, (25, 16, False)),
        (2048, 441, (64, 32, True)),
        (400, 7, (400, 1, False)),
        (401, 100, (401, 1, False)),
    ],
)
def test_how_the_transform_is_split(n_fft: int, hop: int, split: tuple[int, int, bool]) -> None:
    assert best_split(n_fft, hop) == split


@pytest.mark.parametrize(("f_min", "f_max"), [(0.0, 4100.0), (4000.0, None), (2000.0, 1000.0)])
def test_bad_mel_bands_are_refused(f_min: float, f_max: float | None) -> None:
    wanted = parameters({"f_min": f_min, "f_max": f_max})
    with pytest.raises(ValueError, match="do not lie within 0 to 4000 Hz, half the sample rate"):
        mel_filters(wanted, RATE)
    with pytest.raises(ValidationError, match="do not lie within 0 to 4000 Hz, half the sample rate"):
        AudioInput(sample_rate=RATE, window_samples=4000, hop_samples=4000, front_end=wanted)


def test_bands_that_hold_no_frequency_bin_are_the_floor() -> None:
    """As torchaudio's defaults at 16 kHz have it: some of the lowest bands are narrower than a bin."""
    torchaudios = LogMelFrontEnd(n_fft=400, hop_length=200, n_mels=128, mel_scale="htk", norm="none")
    assert empty_bands(torchaudios, 16_000) == 4
    assert empty_bands(torchaudios.model_copy(update={"n_mels": 64}), 16_000) == 0
    log_mel = LogMel(torchaudios, 16_000)(0.1 * torch.randn(1, 800, generator=torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(np.sort(log_mel.amax(dim=(0, 1, 3)))[:4], math.log(1e-10), rtol=1e-6)


def test_a_shorter_window_lies_in_the_middle() -> None:
    window = analysis_window(parameters({"win_length": 4, "n_fft": 8, "n_mels": 1}))
    np.testing.assert_allclose(window, [0, 0, 0, 0.5, 1, 0.5, 0, 0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"win_length": 600}, "win_length 600 is over n_fft 512"),
        ({"window": "kaiser"}, "window"),
        ({"power": 3}, "power"),
        ({"mel_scale": "bark"}, "mel_scale"),
    ],
)
def test_parameters_that_make_no_sense(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        parameters(changes)


def test_a_window_that_cannot_be_reflected() -> None:
    centred = parameters({"center": True, "pad_mode": "reflect"})
    with pytest.raises(ValidationError, match="cannot be padded with 256 reflected samples"):
        AudioInput(sample_rate=RATE, window_samples=256, hop_samples=256, front_end=centred)
    assert AudioInput(sample_rate=RATE, window_samples=257, hop_samples=256, front_end=centred).window_samples == 257
