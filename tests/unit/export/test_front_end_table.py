"""front_ends/kinds/: the front end as a model card shows it."""

from avizor_export.front_ends.build import front_end_of
from avizor_export.networks.input_description import parse_input
from avizor_inference.items.input_spec import CategoryColumn, LogMelFrontEnd, NumberColumn, TableFrontEnd, TableInput


def test_images() -> None:
    rows = front_end_of(parse_input("image:height=8,width=8,channels=2,mean=0.5/0.25,std=0.125")).table()
    assert rows == [
        ("channel (NCHW)", "range", "mean", "std"), ("0", "0..1", "0.5", "0.125"), ("1", "0..1", "0.25", "0.125")
    ]  # fmt: skip
    rows = front_end_of(
        parse_input("image:height=8,width=8,channels=3,order=bgr,layout=nhwc,range=0..255,mean=104/117/124")
    ).table()
    assert rows == [
        ("channel (NHWC)", "range", "mean", "std"),
        ("blue", "0..255", "104", "1"), ("green", "0..255", "117", "1"), ("red", "0..255", "124", "1"),
    ]  # fmt: skip


def test_sound_shows_every_parameter() -> None:
    sound = "audio:sample_rate=8000,window_samples=800,hop_samples=800"
    spec = parse_input(f"{sound},n_fft=256,hop_length=80,n_mels=2,mean=-3/-2.5,win_length=9")
    rows = {row[0]: row[1] for row in front_end_of(spec).table()}
    assert set(rows) - {"log-mel", "band, Hz"} == set(LogMelFrontEnd.model_fields) - {"kind", "f_min", "f_max"}
    assert (rows["band, Hz"], rows["window"], rows["std"]) == ("0 to 4000", "hann", "1")
    assert rows["mean"].startswith("-3 to -2.5, one for each of 2 bands")
    rows = {row[0]: row[1] for row in front_end_of(parse_input(f"{sound},n_fft=256,hop_length=80,n_mels=2")).table()}
    assert rows["win_length"] == "256"


def test_tables() -> None:
    columns = (
        NumberColumn(name="amount", fill=10, lower=0, scale="log1p", mean=3, std=2),
        CategoryColumn(name="country", categories=tuple("abcdefghijkl")),
    )
    assert front_end_of(TableInput(front_end=TableFrontEnd(columns=columns))).table()[1:] == [
        ("amount", "10", "0..", "log1p", "3", "2"),
        ("country", "all 0", "", "12 names: a, b, c, d, e, f, g, h, i, j, ...", "", ""),
    ]


def test_a_tensor_has_none() -> None:
    assert front_end_of(parse_input("tensor:item_shape=3")).table() == []
