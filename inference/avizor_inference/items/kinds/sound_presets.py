"""Fill in the parameters of a front end by the name of its origin, as that library has them when nothing else is asked for.

What they were compared with, and how far they agree: docs/sound.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from avizor_inference.items.kinds.sound_front_ends import Preset, SpectralFrontEnd

Fields = Mapping[str, Any]

_SAMPLE_RATES = {"panns": 32_000, "torchaudio": 16_000, "librosa": 22_050, "kaldi": 16_000}
_MOST_SAMPLES = 2**31
_DECIBELS = {"log": "db", "floor": 1e-10}
_MFCC = {"torchaudio": {"n_mfcc": 40}, "librosa": {"n_mfcc": 20}, "kaldi": {"n_mfcc": 13, "lifter": 22, "lifter_start": 0}}


def with_preset(sound: Fields) -> dict[str, Any]:
    """Return the fields of a sound's description, completed by the preset that its front end names. Given fields stay.

    A front end without a `kind` is a log-mel. Raises ValueError for an unknown preset, or one that has no such front end.
    """
    front_end = sound.get("front_end")
    if isinstance(front_end, SpectralFrontEnd):  # made in Python: its values count only if they were given
        front_end = {"kind": front_end.model_dump()["kind"], **front_end.model_dump(exclude_unset=True)}
    if not isinstance(front_end, Mapping):
        return dict(sound)
    given = {"kind": "log_mel", **front_end}
    preset, kind = given.get("preset"), given["kind"]
    if preset is None:
        return {**sound, "front_end": given}
    if preset not in _PRESETS:
        raise ValueError(f"preset {preset!r} is not known; presets are {', '.join(get_args(Preset))}")
    if kind not in _KINDS[preset]:
        raise ValueError(f"preset {preset} has no front end {kind!r}; it has {', '.join(_KINDS[preset])}")
    rate = sound.get("sample_rate", _SAMPLE_RATES[preset])
    if not isinstance(rate, int):
        return {**sound, "front_end": given}  # the rate is refused with its own message
    filled = _PRESETS[preset](given, rate)
    if kind != "spectrogram":
        filled = {**filled, **_mel(preset)}
    if kind == "mfcc":
        filled = {**filled, **_MFCC[preset]}
    fields = {**filled, **given}
    if fields.get("log") != "db" and "top_db" not in given:  # the origin's, of decibels
        fields["top_db"] = None
    return {**sound, "sample_rate": rate, "front_end": fields}


def _panns(given: Fields, rate: int) -> dict[str, Any]:
    """Return torchlibrosa's Spectrogram and LogmelFilterBank as PANNs call them (Kong et al., 2020)."""
    return {"n_fft": 1024, "hop_length": 320, "center": True, "pad_mode": "reflect", "layout": "NCTF", **_DECIBELS}


def _torchaudio(given: Fields, rate: int) -> dict[str, Any]:
    """Return the defaults of torchaudio.transforms: MelSpectrogram and AmplitudeToDB, MFCC, Spectrogram."""
    fields = {"n_fft": 400, "hop_length": _window(given, 400) // 2, "center": True, "pad_mode": "reflect"}
    if given["kind"] == "spectrogram":
        return fields
    return {**fields, **_DECIBELS} | ({"top_db": 80.0} if given["kind"] == "mfcc" else {})


def _librosa(given: Fields, rate: int) -> dict[str, Any]:
    """Return the defaults of librosa.feature: melspectrogram and power_to_db, mfcc; of `abs(librosa.stft(y))`."""
    if given["kind"] == "spectrogram":
        return {"n_fft": 2048, "hop_length": _window(given, 2048) // 4, "center": True, "power": 1}
    return {"n_fft": 2048, "hop_length": 512, "center": True, "top_db": 80.0, **_DECIBELS}


def _kaldi(given: Fields, rate: int) -> dict[str, Any]:
    """Return the defaults of compute-fbank-feats and compute-mfcc-feats, without dither and without energy.

    Frames are of 25 ms, one every 10 ms. The transform has the next power of two of samples.
    """
    window = _whole(given.get("win_length"), rate * 25 // 1000)
    return {
        "n_fft": 2 ** max(1, (window - 1).bit_length()),
        "hop_length": rate * 10 // 1000,
        "win_length": window,
        "window": "povey",
        "periodic": False,
        "pad_end": True,
        "remove_dc": True,
        "preemphasis": 0.97,
        "scale": 32768.0,
        "floor": 2.0**-23,  # the epsilon of float32
        "layout": "NTF",
    }


def _window(given: Fields, n_fft: int) -> int:
    """Return win_length, which is n_fft where it is not given."""
    return _whole(given.get("win_length"), _whole(given.get("n_fft"), n_fft))


def _whole(value: Any, default: int) -> int:
    """Return a given number of samples; the default for none, and for what is no number and refused later."""
    return value if isinstance(value, int) and 0 < value < _MOST_SAMPLES else default


def _mel(preset: str) -> dict[str, Any]:
    if preset == "panns":
        return {"n_mels": 64, "f_min": 50.0, "f_max": 14_000.0}
    if preset == "torchaudio":
        return {"n_mels": 128, "mel_scale": "htk", "norm": "none"}
    if preset == "librosa":
        return {"n_mels": 128}
    return {"n_mels": 23, "f_min": 20.0, "mel_scale": "kaldi", "norm": "none"}


_PRESETS: dict[str, Callable[[Fields, int], dict[str, Any]]] = {
    "panns": _panns,
    "torchaudio": _torchaudio,
    "librosa": _librosa,
    "kaldi": _kaldi,
}
_KINDS = {
    "panns": ("log_mel",),
    "torchaudio": ("log_mel", "mfcc", "spectrogram"),
    "librosa": ("log_mel", "mfcc", "spectrogram"),
    "kaldi": ("log_mel", "mfcc"),
}
