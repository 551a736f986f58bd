"""front_ends/: MFCC, spectrograms and waveforms; several channels of one item; layouts; constants per band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
from torch import Tensor

from avizor_export.front_ends.build import build_front_end, fit_constants, front_end_of
from avizor_export.front_ends.mel_filters import analysis_window
from avizor_export.graph.wrap import wrap
from avizor_export.networks.input_description import parse_input
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import AudioInput, MfccFrontEnd, SpectrogramFrontEnd

SOUND = "audio:sample_rate=8000,window_samples=1000,hop_samples=1000"
MEL = "n_fft=128,hop_length=50,n_mels=8"
LOUD = 0.3 * torch.randn(3, 1000, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
STEREO = torch.stack([LOUD, 0.01 * LOUD.flip(0)], dim=1)


def features(fields: str, items: Tensor) -> Tensor:
    with torch.inference_mode():
        made: Tensor = build_front_end(parse_input(f"{SOUND},{fields}"))(items)
    return made


KINDS = [MEL, f"front_end=mfcc,n_mfcc=5,{MEL}", "front_end=spectrogram,n_fft=128,hop_length=50", "front_end=none"]


@pytest.mark.parametrize("fields", KINDS)
def test_the_channels_of_an_item_are_computed_one_by_one(fields: str) -> None:
    each = [features(fields, STEREO[:, channel]) for channel in (0, 1)]
    torch.testing.assert_close(features(f"{fields},channels=2", STEREO), torch.cat(each, dim=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("fields", KINDS[:3])
def test_a_layout_moves_the_dimensions_and_changes_nothing_else(fields: str) -> None:
    plain = features(fields, LOUD)
    torch.testing.assert_close(features(f"{fields},layout=NCTF", LOUD), plain.transpose(2, 3))
    torch.testing.assert_close(features(f"{fields},layout=NFT", LOUD), plain[:, 0])
    torch.testing.assert_close(features(f"{fields},layout=NTF", LOUD), plain[:, 0].transpose(1, 2))


def test_a_waveform_comes_as_it_is() -> None:
    assert features("front_end=none", LOUD).shape == (3, 1, 1000)
    torch.testing.assert_close(features("front_end=none,layout=NS", LOUD), LOUD, rtol=0, atol=0)
    torch.testing.assert_close(features("front_end=none,channels=2", STEREO), STEREO, rtol=0, atol=0)


def test_an_autoencoder_of_waveforms_has_an_error_for_each_sample() -> None:
    network = torch.nn.Conv1d(2, 2, 3, padding=1)
    with (
        wrap(network, parse_input(f"{SOUND},front_end=none,channels=2"), "reconstruct", STEREO) as wrapped,
        torch.inference_mode(),
    ):
        outputs = wrapped.named(STEREO)
        error = (network(STEREO) - STEREO) ** 2
    torch.testing.assert_close(outputs["error_map"], error)
    torch.testing.assert_close(outputs["score"], error.mean(dim=(1, 2))[:, None])


def test_mfcc_are_the_first_values_of_the_cosine_transform_of_the_log_mel() -> None:
    expected = scipy.fft.dct(features(MEL, LOUD).numpy(), type=2, norm="ortho", axis=2)[:, :, :5]
    np.testing.assert_allclose(features(KINDS[1], LOUD), expected, atol=1e-4)
    for start in (0, 1):
        lifted = expected * (1 + 11 * np.sin(np.pi * (np.arange(5) + start) / 22))[:, None]
        found = features(f"{KINDS[1]},lifter=22,lifter_start={start}", LOUD)
        np.testing.assert_allclose(found, lifted, atol=1e-3)


@pytest.mark.parametrize("n_fft", [128, 125])
@pytest.mark.parametrize("power", [1, 2])
def test_spectrograms_have_their_bins_in_order(n_fft: int, power: int) -> None:
    frames = np.lib.stride_tricks.sliding_window_view(LOUD.numpy().astype(np.float64), n_fft, axis=1)[:, ::50]
    window = scipy.signal.get_window("hann", n_fft)
    expected = np.abs(np.fft.rfft(frames * window, axis=2)).transpose(0, 2, 1) ** power
    found = features(f"front_end=spectrogram,n_fft={n_fft},hop_length=50,power={power}", LOUD)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    logged = features(f"front_end=spectrogram,n_fft={n_fft},hop_length=50,power={power},log=db,floor=1e-3", LOUD)[:, 0]
    np.testing.assert_allclose(logged, 20 / power * np.log10(np.maximum(expected, 1e-3)), atol=1e-3)


def test_decibels_below_the_largest_are_those_of_the_item_and_not_of_the_batch() -> None:
    db = features(f"{MEL},log=db", torch.cat([LOUD, 0.01 * LOUD]))
    largest = db.amax(dim=(1, 2, 3), keepdim=True)
    found = features(f"{MEL},log=db,ref=max,top_db=20", torch.cat([LOUD, 0.01 * LOUD]))
    torch.testing.assert_close(found, (db - largest).clamp(min=-20))
    both = features(f"{MEL},log=db,channels=2,ref=max", STEREO)  # over both channels, as a network trained on them had it
    torch.testing.assert_close(both.amax(dim=(1, 2, 3)), torch.zeros(3))
    assert (both[:, 1].amax(dim=(1, 2)) < -20).all()


@pytest.mark.parametrize("fields", [f"{kind},layout={layout}" for kind in KINDS[:3] for layout in ("NCFT", "NTF")])
def test_constants_are_those_of_each_band_in_any_layout(fields: str) -> None:
    spec = parse_input(f"{SOUND},{fields}")
    fitted = fit_constants(spec, LOUD.split(2))
    assert isinstance(fitted, AudioInput)
    bands = front_end_of(fitted).bands(build_front_end(fitted)(LOUD))  # type: ignore[attr-defined]
    np.testing.assert_allclose(bands.mean(dim=(0, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(bands.std(dim=(0, 2), correction=0), 1, atol=1e-2)


def test_the_channels_of_an_item_share_the_constants_of_a_band() -> None:
    fitted = fit_constants(parse_input(f"{SOUND},{MEL},channels=2"), [STEREO])
    assert isinstance(fitted, AudioInput)
    assert len(fitted.front_end.model_dump()["mean"]) == 8
    made = build_front_end(fitted)(STEREO)
    np.testing.assert_allclose(made.mean(dim=(0, 1, 3)), 0, atol=1e-4)


def test_a_waveform_has_no_constants() -> None:
    with pytest.raises(ValueError, match="takes the waveform itself has no front end with constants"):
        fit_constants(parse_input(f"{SOUND},front_end=none"), [LOUD])


def window(**fields: Any) -> Any:
    front_end = SpectrogramFrontEnd.model_validate({"n_fft": 16, "hop_length": 8, **fields})
    return analysis_window(front_end)


def test_windows_are_those_of_scipy_and_kaldi() -> None:
    for name in ("hann", "hamming", "blackman", "boxcar"):
        for periodic in (True, False):
            expected = scipy.signal.get_window(name, 16, fftbins=periodic)
            np.testing.assert_allclose(window(window=name, periodic=periodic), expected, atol=1e-12)
    np.testing.assert_allclose(window(window="povey", periodic=False), scipy.signal.get_window("hann", 16, False) ** 0.85)
    at_start = window(win_length=10, pad_end=True)
    np.testing.assert_allclose(at_start, np.pad(scipy.signal.get_window("hann", 10), (0, 6)), atol=1e-12)


def test_frames_of_whole_windows_follow_as_kaldi_counts_them() -> None:
    options = SpectrogramFrontEnd(n_fft=512, hop_length=160, win_length=400, pad_end=True)
    assert [options.frames(samples) for samples in (399, 400, 559, 560)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (f"{MEL},pad_end=true,center=true", "pad_end is for frames that start at whole hops; leave out center, or pad_end"),
        (f"{MEL},preemphasis=0.97", "they need pad_end=true"),
        (f"{MEL},remove_dc=true", "they need pad_end=true"),
        (f"{MEL},ref=max", "ref and top_db are of decibels; they need log=db"),
        (f"{MEL},top_db=80", "ref and top_db are of decibels; they need log=db"),
        (f"front_end=mfcc,{MEL},n_mfcc=9", "n_mfcc 9 is over n_mels 8"),
        ("front_end=mfcc,n_fft=128,hop_length=50,n_mels=8", "audio.front_end.mfcc.n_mfcc: is missing"),
        ("front_end=spectrogram,n_fft=1001,hop_length=50", "window_samples 1000 is less than n_fft 1001"),
        (f"{MEL},pad_end=true,win_length=1200", "win_length 1200 is over n_fft 128"),
        (f"{MEL},layout=NTF,channels=2", "layout NTF has no place for 2 channels; use NCTF"),
        ("front_end=none,layout=NS,channels=2", "layout NS has no place for 2 channels; use NCS"),
        ("front_end=none,channels=65", "channels: Input should be less than or equal to 64"),
        ("front_end=none,n_fft=128", r"unknown key 'n_fft' [(]audio with front_end=none has channels, front_end, hop"),
        ("front_end=mel", "front_end 'mel' is not known; audio has log_mel, mfcc, spectrogram, none"),
        (f"front_end=spectrogram,{MEL}", "unknown key 'n_mels'"),
    ],
)
def test_options_that_do_not_suit_each_other_are_refused(fields: str, says: str) -> None:
    with pytest.raises(ExportError, match=says):
        parse_input(f"{SOUND},{fields}")


def test_every_parameter_is_shown() -> None:
    for fields, name, kind in (
        (KINDS[1], "MFCC", MfccFrontEnd),
        (KINDS[2], "spectrogram", SpectrogramFrontEnd),
    ):
        rows = front_end_of(parse_input(f"{SOUND},{fields}")).table()
        assert rows[0] == (name, "value")
        assert {row[0] for row in rows[1:]} - {"band, Hz"} == set(kind.model_fields) - {"kind", "f_min", "f_max"}
    assert front_end_of(parse_input(f"{SOUND},front_end=none")).table() == [("waveform", "value"), ("layout", "NCS")]


def test_a_spectrogram_that_is_slow_has_a_warning() -> None:
    (warning,) = front_end_of(parse_input(f"{SOUND},front_end=spectrogram,n_fft=401,hop_length=100")).warnings()
    assert warning.startswith("the spectrogram of n_fft 401 and hop_length 100 takes several times an FFT's time; ")
