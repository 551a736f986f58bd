"""Media: from a row of a job's tables to a picture, the error over it, and sound, for each kind of item and place."""

from __future__ import annotations

import io
import os
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from click.testing import CliRunner
from PIL import Image
from support.object_stores import reached, s3_server
from support.packed import png, write_column, write_tar
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.tables import TRANSFER, transfers

from avizor_inference.errors import MediaError, NotExplainable
from avizor_inference.explain.raw_rows import RawRow
from avizor_inference.items.input_spec import AudioInput
from avizor_inference.items.kinds.base import Span
from avizor_pipeline.cli.batch import batch
from avizor_review.item_query import ItemQuery
from avizor_review.media.media import Media
from avizor_review.media.view import View
from avizor_review.results import Results

WINDOW = 4096


def ran(out: Path, models: Path, data: Path, *more: str) -> Path:
    arguments = [str(data), "--models", str(models), "--out", str(out), "--alpha", "0.05", "--workers", "1", *more]
    result = CliRunner().invoke(batch, arguments)
    assert result.exit_code == 0, result.output
    return out


def odd(seconds: float = 1.536, seed: int = 0) -> np.ndarray:
    noise = 0.3 * np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE))
    return np.clip(noise, -1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job over a recording with noise in its second half, and a long one with a burst at 30 s."""
    folder = tmp_path_factory.mktemp("media")
    half = np.concatenate([tone(2 * WINDOW / SAMPLE_RATE, seed=1), odd(2 * WINDOW / SAMPLE_RATE)])
    write_wav(folder / "data" / "a" / "half.wav", half)
    burst = tone(60.0, seed=2)
    burst[30 * SAMPLE_RATE : 31 * SAMPLE_RATE] = odd(1.0)
    write_wav(folder / "data" / "a" / "long.wav", burst)
    return ran(folder / "out", models, folder / "data", "--model", "normal", "--model", "kinds")


def telling(results: Results, media: Media, name: str, model: str = "normal", around_s: float = 3.0) -> View:
    (item,) = results.items(ItemQuery(text=name, model=model))
    window = results.telling_windows([(item.uri, model)])[item.uri, model]
    return media.view(item.uri, model, window.channel, window.start_sample, around_s)


def covered(view: View) -> np.ndarray:
    """How strong the error's colour is in each column of the picture."""
    overlay = view.overlay()
    assert overlay
    image = Image.open(io.BytesIO(overlay)).convert("RGBA")
    return np.asarray(np.asarray(image)[..., 3].mean(axis=0))


def test_the_error_lies_over_the_part_of_a_sound_that_is_odd(sounds: Path) -> None:
    with Results.open(sounds) as results, Media(results) as media:
        view = telling(results, media, "half.wav")
    strength = covered(view)
    assert view.picture
    width, height = Image.open(io.BytesIO(view.picture)).size
    assert (len(strength), height) == (width, Image.open(io.BytesIO(view.overlay() or b"")).height)
    assert strength[width // 2 + 20 :].mean() > 1.5 * strength[: width // 2 - 20].mean()
    assert view.mark
    assert view.mark[0] >= 0.5
    assert (view.x and view.x.low, view.y and view.y.unit) == (0.0, "Hz")


def test_a_long_sound_is_shown_around_the_window_that_is_looked_at(sounds: Path) -> None:
    with Results.open(sounds) as results, Media(results) as media:
        view = telling(results, media, "long.wav", around_s=2.0)
    assert view.x
    assert view.x.low < 29.5 < 31 < view.x.high
    assert view.x.high - view.x.low < 6
    assert view.sound
    assert view.sound.seconds == pytest.approx(view.x.high - view.x.low)


def test_what_is_heard_is_what_is_in_the_file(sounds: Path) -> None:
    whole, _ = soundfile.read(sounds.parent / "data" / "a" / "long.wav", dtype="float32")
    with Results.open(sounds) as results, Media(results) as media:
        view = telling(results, media, "long.wav")
    assert view.x
    assert view.sound
    first = round(view.x.low * SAMPLE_RATE)
    np.testing.assert_allclose(view.sound.samples[0], whole[first : first + view.sound.samples.shape[1]], atol=1e-6)
    for format in ("wav", "flac"):
        samples, rate = soundfile.read(io.BytesIO(view.sound.encoded(format)), dtype="float32")
        assert rate == SAMPLE_RATE
        np.testing.assert_allclose(samples, view.sound.samples[0], atol=1e-4)
    assert view.sound.encoded("mp3")[:2] in (b"\xff\xfb", b"\xff\xe3", b"ID", b"\xff\xf3")


def test_a_classifier_shows_where_it_sees_the_class_that_it_found(sounds: Path) -> None:
    with Results.open(sounds) as results, Media(results) as media:
        view = telling(results, media, "half.wav", "kinds")
        (item,) = results.items(ItemQuery(text="half.wav", model="kinds"))
        window = results.telling_windows([(item.uri, "kinds")])[item.uri, "kinds"]
        spec = media.models.version("kinds").manifest.input  # type: ignore[union-attr]
        samples, _ = soundfile.read(sounds.parent / "data" / "a" / "half.wav", dtype="float32")
        assert window.start_sample is not None
        assert window.end_sample is not None
        assert window.label is not None
        span = Span(0, window.start_sample, WINDOW)
        row = RawRow(item.uri, 0, samples[window.start_sample : window.end_sample], span)
        reference = media.models.class_map("kinds", row)
        with pytest.raises(NotExplainable, match="no classes"):
            media.models.class_map("normal", row)
    assert isinstance(spec, AudioInput)
    assert (view.map_of, view.no_map) == (window.label, "") == (reference.target, "")
    assert view.map is not None
    assert view.map.min() == 0, "what speaks against the class is not drawn"
    assert view.x
    shares = np.linspace(view.x.low, view.x.high, view.map.shape[1])
    drawn = view.map[:, (shares > window.start_sample / SAMPLE_RATE) & (shares < window.end_sample / SAMPLE_RATE)]
    assert drawn.max() == pytest.approx(np.maximum(reference.values, 0).max(), rel=0.05)


def test_a_sound_is_heard_as_it_was_recorded_and_as_the_model_hears_it(models: Path, tmp_path: Path) -> None:
    """A tone of 12 kHz is nothing to a model of 8 kHz; who listens hears it, from the channel that was looked at."""
    rate, seconds = 44_100, 40.0
    high = 0.3 * np.sin(2 * np.pi * 12_000 * np.arange(int(rate * seconds)) / rate)
    stereo = np.stack([np.zeros_like(high), high], axis=1).astype(np.float32)
    for suffix in ("wav", "ogg"):
        (tmp_path / "data" / suffix).mkdir(parents=True)
        soundfile.write(tmp_path / "data" / suffix / f"high.{suffix}", stereo, rate)
    out = ran(tmp_path / "out", models, tmp_path / "data", "--model", "normal")
    with Results.open(out) as results, Media(results) as media:
        for suffix in ("wav", "ogg"):
            (item,) = results.items(ItemQuery(text=f"high.{suffix}"))
            for channel in (0, 1):
                start = 60 * WINDOW
                view = media.view(item.uri, "normal", channel, start, 1.0)
                assert (view.recorded_rate, view.sound and view.sound.sample_rate) == (rate, SAMPLE_RATE)
                assert view.sound
                assert abs(view.sound.samples).max() < 0.02
                assert view.x
                sound = media.recorded(item.uri, "normal", channel, view.x.low, view.x.high)
                assert sound.sample_rate == rate
                assert sound.seconds == pytest.approx(view.sound.seconds, abs=1e-3)
                first = round(view.x.low * rate)
                expected = stereo[first : first + sound.samples.shape[1], channel]
                np.testing.assert_allclose(sound.samples[0], expected, atol=1e-4 if suffix == "wav" else 0.05)


def test_without_the_models_sound_is_still_seen_and_heard(sounds: Path, tmp_path: Path) -> None:
    with Results.open(sounds) as results, Media(results, tmp_path / "absent") as media:
        view = telling(results, media, "long.wav")
    assert view.picture
    assert view.sound
    assert "--models" in view.no_map


def test_a_file_that_is_gone_or_was_changed_is_said(models: Path, tmp_path: Path) -> None:
    for name in ("gone.wav", "changed.wav"):
        write_wav(tmp_path / "data" / name, tone(1.0))
    out = ran(tmp_path / "out", models, tmp_path / "data", "--model", "normal")
    (tmp_path / "data" / "gone.wav").unlink()
    write_wav(tmp_path / "data" / "changed.wav", tone(1.5, seed=3))
    os.utime(tmp_path / "data" / "changed.wav", ns=(0, 10**18))
    with Results.open(out) as results, Media(results) as media:
        for name, why in (("gone.wav", "is gone"), ("changed.wav", "was changed")):
            with pytest.raises(MediaError, match=why):
                telling(results, media, name)


def test_items_in_tars_and_columns_of_bytes_are_shown(models: Path, tmp_path: Path) -> None:
    for folder in ("tar", "column"):
        (tmp_path / folder).mkdir()
    pictures = {f"{place}.png": png(place) for place in range(3)}
    write_tar(tmp_path / "tar" / "p.tar", pictures)
    write_column(tmp_path / "column" / "p.parquet", pictures)
    for folder, more in (("tar", ()), ("column", ("--bytes-column", "image"))):
        out = ran(tmp_path / f"{folder}-out", models, next((tmp_path / folder).iterdir()), "--model", "digits", *more)
        with Results.open(out) as results, Media(results) as media:
            for item in results.items():
                view = media.view(item.uri, "digits")
                assert view.picture
                assert Image.open(io.BytesIO(view.picture)).size == (32, 32)


def test_a_row_of_a_table_is_shown_with_the_error_of_each_column(models: Path, tmp_path: Path) -> None:
    rows = transfers(6, seed=5)
    path = tmp_path / "rows.csv"
    with Results.open(_table_job(path, rows, models, tmp_path / "out")) as results, Media(results) as media:
        view = media.view(results.items(ItemQuery(order="uri"))[2].uri, "transfers")
    assert sum(cell.error or 0 for cell in view.cells) == pytest.approx(1)
    assert [cell.name for cell in view.cells] == ["amount", "hour", "country"]
    assert view.picture is None


def test_a_row_is_shown_with_the_columns_that_its_model_does_not_take(models: Path, tmp_path: Path) -> None:
    """By the number of a booking a person finds it again."""
    path = tmp_path / "rows.parquet"
    told = {
        "booking": pa.array([f"B-{place}" for place in range(6)]),
        "posted": pa.array([datetime(2026, 11, 1, place) for place in range(6)], pa.timestamp("us")),
        "price": pa.array([Decimal("12.50")] * 6),
        "note": pa.array([None, *["cash"] * 5]),
    }
    unread = {"scan": pa.array([b"\xff" * 100] * 6), "tags": pa.array([["a", "b"]] * 6)}
    rows, countries = np.nan_to_num(transfers(6, seed=5), nan=1.0), TRANSFER.front_end.columns[2].categories  # type: ignore[union-attr]
    taken = {"amount": rows[:, 0], "hour": rows[:, 1], "country": [countries[int(place)] for place in rows[:, 2]]}
    pq.write_table(pa.table({**told, **unread, **taken}), path)
    out = ran(tmp_path / "out", models, path, "--model", "transfers")
    with Results.open(out) as results, Media(results) as media:
        uris = [item.uri for item in results.items(ItemQuery(order="uri"))]
        views = [media.view(uri, "transfers") for uri in uris]
    assert [uri.rpartition("#")[2] for uri in uris] == [str(place) for place in range(6)]
    for place, view in enumerate(views):
        assert [cell.name for cell in view.cells] == ["amount", "hour", "country"]
        expected = {
            "booking": f"B-{place}",
            "posted": f"2026-11-01 0{place}:00:00",
            "price": "12.50",
            "note": "cash" if place else "",
        }
        assert {cell.name: cell.value for cell in view.others} == expected


def test_a_csv_row_is_shown_with_the_columns_that_its_model_does_not_take(models: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "rows.csv", tmp_path / "out"
    _table_job(path, transfers(6, seed=5), models, tmp_path / "before")
    header, *lines = path.read_text().splitlines()
    wider = [f"note,{header},booking,note", *(f'x,{line},"B, {place}",y' for place, line in enumerate(lines))]
    path.write_text("\n".join(wider) + "\n")
    with Results.open(ran(out, models, path, "--model", "transfers")) as results, Media(results) as media:
        view = media.view(results.items(ItemQuery(order="uri"))[2].uri, "transfers")
    assert [(cell.name, cell.value) for cell in view.others] == [("booking", "B, 2")], "a name that occurs twice is nobody's"


def _table_job(path: Path, rows: np.ndarray, models: Path, out: Path) -> Path:
    countries = TRANSFER.front_end.columns[2].categories  # type: ignore[union-attr]
    lines = ["amount,hour,country"]
    for amount, hour, country in np.nan_to_num(rows, nan=1.0).tolist():
        lines.append(f"{amount:.6g},{hour:.6g},{countries[int(country)]}")
    path.write_text("\n".join(lines) + "\n")
    return ran(out, models, path, "--model", "transfers")


def test_sounds_on_a_store_and_in_a_tar_are_seen_and_heard_as_recorded(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = 16_000
    samples = (0.3 * np.random.default_rng(0).standard_normal(2 * rate)).clip(-1, 1).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    with s3_server() as server, reached(server, monkeypatch):
        server.put("sounds/a/odd.wav", buffer.getvalue())
        write_tar(tmp_path / "sounds.tar", {"a/odd.wav": buffer.getvalue()})
        for place, data in (("store", server.url("sounds")), ("tar", tmp_path / "sounds.tar")):
            arguments = [str(data), "--models", str(models), "--model", "normal", "--out", str(tmp_path / place)]
            result = CliRunner().invoke(batch, [*arguments, "--alpha", "0.05", "--workers", "1"])
            assert result.exit_code == 0, result.output
            with Results.open(tmp_path / place) as results, Media(results) as media:
                (item,) = results.items()
                view = media.view(item.uri, "normal", 0, 0, 3.0)
                assert view.picture
                assert view.map is not None
                assert view.recorded_rate == rate
                assert view.x
                sound = media.recorded(item.uri, "normal", 0, view.x.low, view.x.high)
                np.testing.assert_allclose(sound.samples[0], samples[: sound.samples.shape[1]], atol=1e-6)
        _, *asked = server.requests
        assert {method for method, _, _ in asked} <= {"GET", "HEAD"}, "nothing is written to the store"
