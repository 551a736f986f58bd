"""avizor report: one page over a real job, in a real browser."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from integration.jobs import AVIZOR
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support.browser import Browser, browser
from support.sounds import SAMPLE_RATE, tone, write_wav
from support.warm_starts import warm_run

from avizor_pipeline.cli.batch import batch
from avizor_review.media.media import Media
from avizor_review.report.cli import report
from avizor_review.report.figures import ModelFigures, SourceFigures, figures_of
from avizor_review.report.page import Report, render
from avizor_review.report.steps import Steps
from avizor_review.report.unusual import ShownItems, unusual_items
from avizor_review.results import Results

HOSTILE = "<img src=x onerror=document.title='owned'>.wav"


@pytest.fixture(scope="module")
def job(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of two models over normal sound, noise, a hostile name and a broken file, with embeddings."""
    folder = tmp_path_factory.mktemp("report")
    for number in range(8):
        for source in ("a", "b"):
            write_wav(folder / "data" / source / f"{number}.wav", tone(3 * 4096 / SAMPLE_RATE, seed=100 + number))
    noise = 0.3 * np.random.default_rng(0).standard_normal(3 * 4096).astype(np.float32)
    for name in ("odd.wav", HOSTILE):
        write_wav(folder / "data" / "a" / name, np.clip(noise, -1, 1))
    (folder / "data" / "b" / "broken.wav").write_bytes(b"RIFF")
    arguments = [str(folder / "data"), "--models", str(models), "--model", "normal", "--model", "kinds", "--embeddings"]
    result = CliRunner().invoke(batch, [*arguments, "--out", str(folder / "out"), "--alpha", "0.05", "--workers", "1"])
    assert result.exit_code == 3, result.output
    return folder / "out"


@pytest.fixture(scope="module")
def page(job: Path) -> Path:
    """The report of that job."""
    path = job.parent / "report.html"
    result = CliRunner().invoke(report, [str(job), "--out", str(path), "--items", "6"])
    assert result.exit_code == 0, result.output
    assert "report.html" in result.output
    return path


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def opened(running: Browser) -> Browser:
    """A browser of a usual size, which shows nothing and has said nothing."""
    running.open("about:blank")
    running.look(1280)
    running.complaints()
    return running


def drawn(opened: Browser, page: Path) -> Any:
    """Open the page, wait until its charts are drawn, and return the driver."""
    opened.open(page.as_uri())
    opened.until("return document.documentElement.dataset.drawn")
    return opened.driver


def test_a_report_opens_without_a_network(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", markup)
    assert "data:audio/mpeg;base64," in markup
    assert "data:image/png;base64," in markup


def test_alpha_is_moved_and_the_counts_follow(job: Path, page: Path, opened: Browser) -> None:
    with Results.open(job) as results:
        driver = drawn(opened, page)
        exact = driver.find_element(By.ID, "alpha-number")
        for alpha in (0.05, 0.2, 0.01):
            exact.clear()
            exact.send_keys(str(alpha), Keys.ENTER)
            wanted = {counts.source: counts.flagged for counts in results.sources(alpha) if counts.model == "normal"}
            rows = driver.find_elements(By.CSS_SELECTOR, "tr[id^=source-]")
            shown = {
                row.find_element(By.TAG_NAME, "th").text: int(row.find_element(By.CSS_SELECTOR, ".flagged").text)
                for row in rows
            }
            assert shown == wanted
            assert f"{sum(wanted.values())} of 18 items" in driver.find_element(By.ID, "total").text
        slider = driver.find_element(By.ID, "alpha-slider")
        before = exact.get_attribute("value")
        slider.send_keys(Keys.ARROW_RIGHT * 40)
        assert float(exact.get_attribute("value")) > float(before)
        driver.find_element(By.ID, "alpha-reset").click()
        assert exact.get_attribute("value") == "0.05"
        assert driver.title != "owned"
        assert not [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
        assert len(driver.find_elements(By.CSS_SELECTOR, ".chart svg")) == len(driver.find_elements(By.CSS_SELECTOR, ".chart"))


PROMISED = ("at most 5.00 % of normal items promised", "alpha is promised on average.")
LESS = ("at alpha 5.00 %: the promise is weaker, as said above", "The calibration promises less than alpha, as said above.")


@pytest.mark.parametrize(("weaker", "said"), [("", PROMISED), ("is cross-fitted", LESS)])
def test_alpha_is_not_promised_by_a_calibration_that_promises_less(
    tmp_path: Path, opened: Browser, weaker: str, said: tuple[str, str]
) -> None:
    source = SourceFigures("fan-1", 2, 2, 0, 20, Steps([0.01], [1]))
    figures = ModelFigures("fans", 1, True, "", "0a1b", 20, 2, weaker, [source])
    page = Report("t", [], [], 0.05, 0.05, False, True, [figures], [], [ShownItems("fans", True)], [], [], 0, {}, {})
    path = tmp_path / "report.html"
    path.write_bytes(render(page))
    shown = drawn(opened, path)
    assert shown.find_element(By.ID, "total").text == f"fans: 1 of 2 items flagged (50.0 %), {said[0]}"
    assert shown.find_element(By.TAG_NAME, "figcaption").text.endswith(said[1])


def test_an_alpha_at_which_nothing_can_be_flagged_is_said(job: Path, tmp_path: Path, opened: Browser) -> None:
    """A job with such an alpha is refused: the calibration has 60 items."""
    path = tmp_path / "report.html"
    done = warm_run([str(AVIZOR), "report", str(job), "--alpha", "0.01", "--out", str(path)])
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(
        "Warning: nothing can be flagged by normal at alpha 0.01: the 60 normal items of its calibration"
    )
    assert "support alpha 0.017 or more; give a larger --alpha" in done.stderr
    total = drawn(opened, path).find_element(By.ID, "total")
    assert total.text == (
        "normal: 0 of 18 items flagged (0.00 %), and none can be: its calibration supports alpha 0.017 or more"
    )
    assert warm_run([str(AVIZOR), "report", str(job), "--alpha", "0.02", "--out", str(path)]).stderr == ""


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1280, False)])
def test_a_sound_plays_and_the_page_fits(page: Path, opened: Browser, width: int, dark: bool) -> None:
    opened.look(width, dark=dark)
    driver = drawn(opened, page)
    seconds = driver.execute_async_script(
        "const done = arguments[0], sound = document.querySelector('audio'); sound.muted = true;"
        "sound.addEventListener('ended', () => done(sound.duration)); sound.play().catch(e => done(String(e)));"
    )
    assert seconds == pytest.approx(3 * 4096 / SAMPLE_RATE, abs=0.2)
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    colour = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", colour))) < 80) == dark
    assert opened.problems_for_screen_readers() == []


def test_it_tells_what_is_in_the_job(page: Path) -> None:
    markup = re.sub(r"<script.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for text in ("kinds, version", "Nearest items that were not flagged", "broken.wav", "Where its error is", "&lt;img src=x"):
        assert text in re.sub(r"</?bdi>", "", markup), text
    assert "<img src=x" not in markup


def test_results_that_cannot_be_written_to_are_read(job: Path, tmp_path: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in job.rglob("*"))
    job.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        done = warm_run([str(AVIZOR), "report", str(job), "--out", str(tmp_path / "r.html"), "--items", "0"])
    finally:
        job.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert sorted((path, path.stat().st_mtime_ns) for path in job.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["absent"], "there is no such folder"),
        (["s3://bucket/results"], "copy them to a disk"),
        (["{job}", "--alpha", "0.9"], "--alpha 0.9"),
        (["{job}", "--out", "absent/r.html"], "name a file with --out"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(job: Path, arguments: list[str], why: str) -> None:
    command = [str(AVIZOR), "report", *(argument.format(job=job) for argument in arguments)]
    done = warm_run(command)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert why in done.stderr


@pytest.mark.parametrize("most", [12, 18])
def test_too_few_open_files_are_told_in_one_line(job: Path, tmp_path: Path, most: int) -> None:
    command = f"ulimit -n {most}; exec {AVIZOR} report {job} --out {tmp_path / 'page.html'}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert re.fullmatch(rf"Error: .*too many open files: this process may have {most}; raise `ulimit -n`.*\n", ended.stderr)


def test_items_are_left_out_where_pictures_and_sounds_would_take_too_much(job: Path) -> None:
    with Results.open(job) as results, Media(results) as media:
        figures, _ = figures_of(results, media.models, [0.05])
        whole = unusual_items(results, media, figures, 6, 10**8)
        fewer = unusual_items(results, media, figures, 6, 200_000)
    assert [group.left_out for group in whole] == [0, 0]
    taken = sum(each.bytes for group in fewer for each in group.items)
    assert 0 < taken < 200_000
    for before, after in zip(whole, fewer, strict=True):
        assert len(after.items) + after.left_out == len(before.items)
        assert [each.item.uri for each in after.items] == [each.item.uri for each in before.items][: len(after.items)]
