"""Input descriptions as text and as JSON, and what is said about a front end that is probably not meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from avizor_export.front_ends.build import front_end_of
from avizor_export.networks.input_description import parse_input
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import AudioInput, ImageInput, LogMelFrontEnd, TensorInput

SECOND_AT_16K = "audio:sample_rate=16000,window_samples=16000,hop_samples=16000"


def test_a_description_is_read_from_text_and_from_json(tmp_path: Path) -> None:
    image = parse_input("image:height=32,width=24,channels=3,mean=0.5/0.4/0.3,std=0.2")
    assert isinstance(image, ImageInput)
    assert (image.height, image.front_end.mean, image.front_end.std) == (32, (0.5, 0.4, 0.3), (0.2,))
    audio = parse_input("audio:sample_rate=8000,window_samples=8000,hop_samples=4000,n_fft=256,hop_length=80,n_mels=40")
    assert isinstance(audio, AudioInput)
    assert isinstance(audio.front_end, LogMelFrontEnd)
    assert audio.front_end.n_mels == 40
    more = "win_length=200,window=hamming,center=true,pad_mode=reflect,power=1,mel_scale=htk,norm=none,log=db,compensated=true"
    audio = parse_input(f"audio:sample_rate=8000,window_samples=8000,hop_samples=4000,n_fft=256,hop_length=80,n_mels=40,{more}")
    assert isinstance(audio, AudioInput)
    assert isinstance(audio.front_end, LogMelFrontEnd)
    assert (audio.front_end.center, audio.front_end.compensated, audio.front_end.power) == (True, True, 1)
    assert (audio.front_end.window, audio.front_end.win_length, audio.front_end.log) == ("hamming", 200, "db")
    (tmp_path / "input.json").write_text(audio.model_dump_json())
    assert parse_input(str(tmp_path / "input.json")) == audio
    assert parse_input("tensor:name=x,item_shape=3/4") == TensorInput(name="x", item_shape=(3, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video:fps=3", "'video' is not a modality; begin with image:, audio:, signal:, table: or tensor:"),
        ("image:height=8,width=8,channels=1,height=16", "'height' is given twice"),
        (
            "audio:sample_rate=8000,window_samples=800,hop_samples=80,n_fft=256,hop_length=80,n_mels=9,f_max=5000",
            "do not lie within 0 to 4000 Hz, half the sample rate",
        ),
        ("image:height=32,width=32", "image.channels: is missing"),
        ("image:height=tall,width=32,channels=1", "image.height"),
        (
            "image:height=32,width=32,channels=3,mean=0.5/0.5",
            "': image: mean has 2 values; give 1, or one for each of the 3 channels",
        ),
        ("image:height", "'height' is not key=value"),
        (
            "image:height=32,width=32,channel=1",
            "': unknown key 'channel', did you mean 'channels'[?] [(]image has antialias, channels, crop, ",
        ),
        ("image:height=32,width=32,channels=1,n_fft=256", "': unknown key 'n_fft' [(]image has "),
        (
            "audio:sample_rate=8000,window_samples=800,hop_samples=80,n_fft=256,hop_length=80,n_mels=9,centre=true",
            "': unknown key 'centre', did you mean 'center'[?] [(]audio has ",
        ),
        ("tensor:item_shape=3,mean=0.5", "': unknown key 'mean' [(]tensor has "),
        ("audio:sample_rate=8000,window_samples=100,hop_samples=50,n_fft=256,hop_length=80,n_mels=40", "less than n_fft"),
        (
            "audio:sample_rate=8000,window_samples=300,hop_samples=500,n_fft=256,hop_length=80,n_mels=40",
            "sound would be skipped",
        ),
        ("nowhere.json", "cannot be read"),
    ],
)
def test_wrong_input_descriptions_name_the_field(text: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        parse_input(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"modality": "video"}', "modality: 'video' is none of 'image', 'audio', 'signal', 'table', 'tensor'$"),
        ("{}", "modality: is missing$"),
        (
            '{"modality": "image", "height": 8, "width": 8, "channel": 1}',
            "image: unknown key 'channel', did you mean 'channels'[?]$",
        ),
        ('{"modality": "tensor", "item_shape": [3], "colour": 1}', "tensor: unknown key 'colour'$"),
        ("[1]", "Input should be an object"),
        ('{"modality": "tensor", "item_shape": [3], "item_shape": [4]}', "'item_shape' is repeated"),
    ],
)
def test_wrong_json_descriptions_name_the_field(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "input.json").write_text(text)
    with pytest.raises(ExportError, match=message):
        parse_input(str(tmp_path / "input.json"))


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("image:height=8,width=8,channels=1,mean=127.5,std=0.5", "mean 127.5 is not on the 0..1 scale"),
        ("image:height=8,width=8,channels=3,mean=0.5,std=0.2/58/57", "std 58, 57 is not on the 0..1 scale"),
        (f"{SECOND_AT_16K},n_fft=400,hop_length=200,n_mels=128,mel_scale=htk", "4 of the 128 mel bands hold no frequency bin"),
        (f"{SECOND_AT_16K},n_fft=400,hop_length=7,n_mels=24", "n_fft 400 and hop_length 7 takes several times"),
        (f"{SECOND_AT_16K},n_fft=1024,hop_length=441,n_mels=24", None),
        ("image:height=8,width=8,channels=1,mean=0.5,std=1", None),
        ("tensor:item_shape=3", None),
    ],
)
def test_a_front_end_that_is_probably_not_meant_has_one_warning(text: str, warning: str | None) -> None:
    warnings = list(front_end_of(parse_input(text)).warnings())
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]
