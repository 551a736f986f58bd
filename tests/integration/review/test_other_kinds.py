"""Pictures, signals and rows of tables in report and review, in a real browser: what is drawn is large enough to be judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from PIL import Image
from support.browser import Browser, browser
from support.review_page import review_page
from support.signals import SIGNAL, vibration, write_signal
from support.sounds import SAMPLE_RATE

from avizor_export import ExportRequest, build_autoencoder, export_model
from avizor_inference import ImageInput, NormalRecording, NumberColumn, TableFrontEnd, TableInput
from avizor_pipeline.cli.batch import batch
from avizor_review.report.cli import report

COLUMNS = 30
TABLE = TableInput(front_end=TableFrontEnd(columns=tuple(NumberColumn(name=f"c{place}") for place in range(COLUMNS))))
KINDS = ("images", "signals", "rows")
SIZES = ((1280, False), (400, True))


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A job of each kind of item: a picture that is wider than high, a signal of two channels, rows of 30 columns."""
    folder = tmp_path_factory.mktemp("kinds")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 90, (40, 24, 40, 1), np.uint8)
    rows = rng.standard_normal((40, COLUMNS)).astype(np.float32)
    waves = [vibration(750, seed=seed).reshape(3, 250, 2).transpose(0, 2, 1) for seed in range(40)]
    for name, spec, network, items in (
        ("images", ImageInput(height=24, width=40, channels=1), "conv4s2bn latent4", pictures[:, None]),
        ("signals", SIGNAL, "conv4s2k7 latent4", waves),
        ("rows", TABLE, "fc8 latent2", rows[:, None]),
    ):
        shape = {"images": (1, 24, 40), "signals": (2, 250), "rows": (COLUMNS,)}[name]
        normal = [NormalRecording("a", each) for each in items]
        request = ExportRequest(name, "reconstruct", spec, normal=normal)
        export_model(build_autoencoder(network, shape), request, folder / "models")
    for number in range(4):
        (folder / "images" / "a").mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 90, (24, 40), np.uint8)
        if number == 0:
            pixels[4:12, 20:36] = 255
        Image.fromarray(pixels).save(folder / "images" / "a" / f"{number}.png")
        write_signal(folder / "signals" / "a" / f"{number}.csv", vibration(750, seed=100 + number, impulses=number == 0))
    table = rng.standard_normal((4, COLUMNS))
    table[0, 27] = 60.0
    lines = [",".join([*(f"{value:.4f}" for value in row), f"B-{place} " + "x" * 300]) for place, row in enumerate(table)]
    (folder / "rows.csv").write_text(
        "\n".join([",".join([*(f"c{place}" for place in range(COLUMNS)), "booking"]), *lines]) + "\n"
    )
    for name in KINDS:
        data = folder / ("rows.csv" if name == "rows" else name)
        arguments = [str(data), "--models", str(folder / "models"), "--model", name, "--out", str(folder / f"{name}-out")]
        result = CliRunner().invoke(batch, [*arguments, "--alpha", "0.1", "--workers", "1", "--embeddings"])
        assert result.exit_code == 0, result.output
    return {name: folder / f"{name}-out" for name in KINDS}


def box(at: Browser, selector: str) -> tuple[float, float]:
    """Width and height of the first element of a selector, as it is seen."""
    width, height = at.run(
        "const b = document.querySelector(arguments[0]).getBoundingClientRect(); return [b.width, b.height]", selector
    )
    return width, height


def first_item(at: Browser) -> None:
    at.leads_on(at.run, "document.querySelector('.items th a').click()")
    at.until("return [...document.images].every(image => image.complete && image.naturalWidth)")


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_an_item_can_be_judged_at_every_width(kind: str, jobs: dict[str, Path], opened: Browser) -> None:
    with review_page(jobs[kind]) as page:
        for width, dark in SIZES:
            opened.look(width, dark=dark)
            opened.open(page.address)
            first_item(opened)
            opened.press("c")
            opened.until("return document.querySelectorAll('.nearest [data-look]').length === 1")
            opened.until("return [...document.images].every(image => image.complete && image.naturalWidth)")
            assert opened.run("return document.documentElement.scrollWidth <= window.innerWidth")
            if kind == "images":
                seen, over = box(opened, ".seeing .seen"), box(opened, ".seeing .map")
                assert seen == pytest.approx(over), "the error lies over the picture"
                assert min(seen[0], 480) >= min(300, width - 120)
                assert seen[0] / seen[1] == pytest.approx(40 / 24, rel=0.02)
            if kind == "signals":
                assert box(opened, ".seeing .seen")[1] > 150
                (names,) = opened.texts(".seeing .look .quiet")
                assert names.startswith("From the top: ax, ")
                assert "ay, " in names
            if kind == "rows":
                assert opened.texts(".seeing .others tbody td")[0].startswith("B-0 xx"), "what the model does not take is below"
                assert opened.texts(".seeing .cells tbody th")[0] == "c27", "the column with the largest error is on top"
                assert opened.texts(".seeing .cells tbody th") == opened.texts(".nearest .cells tbody th")
            assert opened.problems_for_screen_readers() == []
            assert opened.complaints() == []
            opened.picture(Path(f"review-{kind}-{width}-{'dark' if dark else 'light'}.png"))


def test_two_items_are_compared_in_the_same_colours(jobs: dict[str, Path], opened: Browser) -> None:
    """Else the largest error of a normal item is as bright as that of an odd one."""
    strength = """
        const image = document.querySelector(arguments[0]), canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const drawing = canvas.getContext('2d');
        drawing.drawImage(image, 0, 0);
        const pixels = drawing.getImageData(0, 0, canvas.width, canvas.height).data;
        return Math.max(...pixels.filter((_, place) => place % 4 === 3));
    """
    with review_page(jobs["images"]) as page:
        opened.look(1280)
        opened.open(page.address)
        first_item(opened)
        opened.press("c")
        opened.until("return document.querySelector('.nearest .map')?.naturalWidth")
        odd, normal = opened.run(strength, ".seeing .map"), opened.run(strength, ".nearest .map")
    assert odd > 200
    assert normal < 0.7 * odd


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_of_each_kind_fits_and_is_named(kind: str, jobs: dict[str, Path], opened: Browser, tmp_path: Path) -> None:
    result = CliRunner().invoke(report, [str(jobs[kind]), "--out", str(tmp_path / "report.html"), "--items", "4"])
    assert result.exit_code == 0, result.output
    for width, dark in SIZES:
        opened.look(width, dark=dark)
        opened.open((tmp_path / "report.html").as_uri())
        opened.until("return document.documentElement.dataset.drawn")
        assert opened.run("return document.documentElement.scrollWidth <= window.innerWidth")
        assert opened.complaints() == []
        assert opened.problems_for_screen_readers() == []
        opened.picture(Path(f"report-{kind}-{width}-{'dark' if dark else 'light'}.png"))
    if kind == "rows":
        first = ".items > li:first-child "
        assert opened.texts(f"{first}tbody th")[0] == "c27"
        assert len(opened.texts(f"{first}tbody th")) == 12 + 1
        assert opened.texts(f"{first}tbody th")[-1] == "booking", "what the model does not take is below"
        assert f"12 of {COLUMNS} columns" in opened.texts(f"{first}.quiet")[0]


def test_what_was_recorded_is_heard_unless_the_models_sound_is_asked_for(models: Path, opened: Browser, tmp_path: Path) -> None:
    rate = 16_000
    (tmp_path / "data" / "a").mkdir(parents=True)
    noise = 0.3 * np.random.default_rng(0).standard_normal(3 * rate).astype(np.float32)
    soundfile.write(tmp_path / "data" / "a" / "odd.wav", np.clip(noise, -1, 1), rate)
    arguments = [str(tmp_path / "data"), "--models", str(models), "--model", "normal", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(batch, [*arguments, "--alpha", "0.1", "--workers", "1"])
    assert result.exit_code == 0, result.output
    rates = """
        const done = arguments[0], sound = document.querySelector('[data-sound]');
        fetch(sound.src).then(answer => answer.arrayBuffer()).then(data => done(new DataView(data).getUint32(24, true)));
    """
    with review_page(tmp_path / "out") as page:
        opened.look(1280)
        opened.open(page.address)
        first_item(opened)
        assert f"as it was recorded, at {rate} Hz. The model hears {SAMPLE_RATE} Hz" in " ".join(opened.texts(".look .quiet"))
        assert opened.driver.execute_async_script(rates) == rate
        opened.press(" ")
        opened.until("const s = document.querySelector('audio'); return !s.paused && s.currentTime > 0.1")
        opened.press("o")
        assert opened.driver.execute_async_script(rates) == SAMPLE_RATE
        opened.until("const s = document.querySelector('audio'); return !s.paused && s.currentTime > 0.15")
        opened.press("o")
        assert opened.driver.execute_async_script(rates) == rate
        assert opened.complaints() == []
