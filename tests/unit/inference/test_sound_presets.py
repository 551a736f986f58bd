"""items/kinds/sound_presets.py: a preset fills in what a description leaves out, and is recorded with what it filled in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from avizor_inference.items.input_spec import AudioInput, InputSpec, LogMelFrontEnd
from avizor_inference.strict_json import validation_message

WINDOWS = {"modality": "audio", "window_samples": 32_000, "hop_samples": 32_000}


def resolved(**fields: Any) -> dict[str, Any]:
    """The front end, and the sample rate beside it."""
    sound = {name: fields.pop(name) for name in ("sample_rate", "channels") if name in fields}
    spec = AudioInput.model_validate({**WINDOWS, **sound, "front_end": fields})
    return {"sample_rate": spec.sample_rate, **spec.front_end.model_dump()}


def parts(fields: dict[str, Any], names: str) -> tuple[Any, ...]:
    return tuple(fields[name] for name in names.split())


def refusal(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        resolved(**fields)
    return validation_message(caught.value)


def test_a_preset_is_recorded_with_what_it_filled_in() -> None:
    panns = resolved(preset="panns")
    assert parts(panns, "preset kind sample_rate n_fft hop_length n_mels") == ("panns", "log_mel", 32_000, 1024, 320, 64)
    assert parts(panns, "f_min f_max log floor center pad_mode") == (50.0, 14_000.0, "db", 1e-10, True, "reflect")
    assert parts(panns, "mel_scale norm top_db layout") == ("slaney", "slaney", None, "NCTF")


def test_fields_that_are_given_win() -> None:
    ours = resolved(preset="panns", sample_rate=16_000, n_fft=512, hop_length=160, f_max=8_000.0, layout="NCFT")
    assert parts(ours, "sample_rate n_fft hop_length f_max layout n_mels") == (16_000, 512, 160, 8_000.0, "NCFT", 64)


def test_what_the_origin_derives_is_derived_from_given_fields() -> None:
    assert parts(resolved(preset="torchaudio"), "n_fft hop_length n_mels") == (400, 200, 128)
    assert parts(resolved(preset="torchaudio", n_fft=1024), "n_fft hop_length") == (1024, 512)
    assert parts(resolved(preset="torchaudio", n_fft=1024, win_length=600), "n_fft hop_length") == (1024, 300)
    assert parts(resolved(preset="librosa", n_fft=512), "n_fft hop_length") == (512, 512)  # melspectrogram's own default
    assert parts(resolved(kind="spectrogram", preset="librosa", n_fft=512), "n_fft hop_length power") == (512, 128, 1)
    assert parts(resolved(preset="kaldi"), "n_fft win_length hop_length n_mels") == (512, 400, 160, 23)
    assert parts(resolved(preset="kaldi", sample_rate=8_000), "n_fft win_length hop_length") == (256, 200, 80)
    assert parts(resolved(preset="kaldi", win_length=600), "n_fft win_length hop_length") == (1024, 600, 160)


def test_decibels_below_the_largest_belong_to_decibels() -> None:
    assert resolved(preset="librosa")["top_db"] == 80
    assert resolved(preset="torchaudio")["top_db"] is None
    assert resolved(kind="mfcc", preset="torchaudio")["top_db"] == 80
    assert resolved(preset="librosa", log="natural")["top_db"] is None
    assert resolved(preset="librosa", top_db=60)["top_db"] == 60
    assert "they need log=db" in refusal(preset="librosa", log="natural", top_db=60)


def test_coefficients_of_each_origin() -> None:
    assert [resolved(kind="mfcc", preset=name)["n_mfcc"] for name in ("torchaudio", "librosa", "kaldi")] == [40, 20, 13]
    assert parts(resolved(kind="mfcc", preset="kaldi"), "lifter lifter_start layout") == (22, 0, "NTF")


def test_a_manifest_reads_back_as_it_was_written() -> None:
    spec = AudioInput.model_validate({**WINDOWS, "front_end": {"preset": "kaldi", "n_mels": 80}})
    assert TypeAdapter(InputSpec).validate_json(spec.model_dump_json()) == spec


def test_a_description_of_before_presets_means_what_it_did() -> None:
    old = {"n_fft": 256, "hop_length": 80, "n_mels": 16}
    spec = AudioInput.model_validate({**WINDOWS, "sample_rate": 8000, "front_end": old})
    assert (spec.front_end, spec.channels) == (LogMelFrontEnd.model_validate(old), 1)


def test_a_front_end_made_in_python_may_name_a_preset() -> None:
    given = LogMelFrontEnd(preset="panns", n_fft=512, hop_length=160, n_mels=32)
    spec = AudioInput(sample_rate=32_000, window_samples=32_000, hop_samples=32_000, front_end=given)
    assert parts(spec.front_end.model_dump(), "n_fft n_mels log f_min") == (512, 32, "db", 50.0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"preset": "panns2"}, "preset 'panns2' is not known; presets are panns, torchaudio, librosa, kaldi"),
        ({"preset": "panns", "kind": "mfcc"}, "preset panns has no front end 'mfcc'; it has log_mel"),
        ({"preset": "kaldi", "kind": "spectrogram"}, "preset kaldi has no front end 'spectrogram'; it has log_mel, mfcc"),
        ({"preset": "kaldi", "channels": 2}, "layout NTF has no place for 2 channels; use NCTF"),
        ({"preset": "panns", "sample_rate": 16_000}, "f_max 14000 Hz do not lie within 0 to 8000 Hz"),
        ({"preset": "torchaudio", "win_length": "long"}, "front_end.log_mel.win_length: Input should be a valid integer"),
        ({"preset": "kaldi", "sample_rate": "high"}, "sample_rate: Input should be a valid integer"),
        ({"kind": "cqt"}, "front_end.kind: 'cqt' is none of 'log_mel', 'mfcc', 'spectrogram', 'none'"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(fields: dict[str, Any], says: str) -> None:
    assert says in refusal(**fields)
