"""`avizor serve --keep-flagged`: what is kept is seen by `avizor review` and `avizor report`, and costs no call."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from integration.gateway import AVIZOR, Gateway, gateway, normal, odd, wav
from support.review_page import Page, review_page
from support.sounds import SAMPLE_RATE, tone
from support.warm_starts import warm_run

from avizor.v1 import inference_pb2 as pb
from avizor_inference.durable_files import is_temporary
from avizor_review.media.media import Media
from avizor_review.results import Item, Results

ALPHA = ("--alpha", "0.05")


def until(what: str, holds: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.3)


def detect(running: Gateway, *items: pb.Item, model: str = "normal", alpha: float = 0) -> list[pb.Verdict]:
    with grpc.insecure_channel(running.address) as channel:
        return list(running.stub(channel).DetectAnomaly(pb.DetectAnomalyRequest(model=model, items=items, alpha=alpha)).items)


def rows(folder: Path) -> list[tuple[str, str]]:
    """Each row of `recordings` by its uri and source, as `avizor review` sees them."""
    if not (folder / "job.json").exists():
        return []
    with Results.open(folder) as results:
        return [(row[0], row[1]) for row in results.tables.rows("select uri, source from recordings")]


def keep_one(running: Gateway, folder: Path, source: str) -> None:
    """Have one item flagged, and return when it is on disk: nothing of it comes later."""
    before = len(rows(folder))
    detect(running, pb.Item(source=source, audio=odd()))
    until("it is kept", lambda: len(rows(folder)) > before)


def stems(folder: Path) -> set[str]:
    """The names of the parts in a folder. What was not finished when a gateway was killed goes after ten minutes."""
    return {path.stem for path in folder.iterdir() if not is_temporary(path)}


def kept(folder: Path) -> list[Item]:
    with Results.open(folder) as results:
        return results.items(limit=10_000)


@pytest.fixture(scope="module")
def keeping(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    """A gateway that keeps, and its folder."""
    folder = tmp_path_factory.mktemp("keep") / "flagged"
    with gateway(models, *ALPHA, "--keep-flagged", folder) as running:
        yield running, folder


def test_each_kind_of_item_is_kept_and_shown_as_the_model_took_it(keeping: tuple[Gateway, Path], models: Path) -> None:
    running, folder = keeping
    noise = np.clip(0.3 * np.random.default_rng(0).standard_normal((3 * 4096, 2)), -1, 1)
    pcm = pb.Pcm(format=pb.PCM_FORMAT_F32LE, sample_rate=SAMPLE_RATE, channels=1, data=noise[:, 0].astype("<f4").tobytes())
    window = pb.Tensor(dtype="float32", shape=[4096], data=noise[:4096, 0].astype("<f4").tobytes())
    items = [
        pb.Item(source="a", audio=wav(noise[:, 0])),
        pb.Item(source="a", audio=wav(noise, kind="FLAC"), channel_mode=pb.CHANNEL_MODE_MIX),
        pb.Item(source="b", pcm=pcm),
        pb.Item(source="b", tensor=window),
    ]
    row = pb.Item(source="a")
    row.row.update({"amount": 9e6, "hour": 3, "country": "ES"})
    verdicts = [*detect(running, *items, pb.Item(source="a", audio=normal())), *detect(running, row, model="transfers")]
    assert [verdict.is_anomaly for verdict in verdicts] == [True, True, True, True, False, True]
    until("five are kept", lambda: len(rows(folder)) == 5)
    flagged = [verdict for verdict in verdicts if verdict.is_anomaly]
    with Results.open(folder) as results, Media(results) as media:
        found = sorted(results.items(limit=100), key=lambda item: item.uri.rpartition("/")[2])  # by time
        by_name = {(item.model, Path(item.uri.partition("#")[0]).suffix): item for item in found}
        assert set(by_name) == {("normal", suffix) for suffix in (".wav", ".flac", ".npy")} | {("transfers", ".parquet")}
        assert sorted(item.p_value or 0 for item in found) == pytest.approx(sorted(verdict.p_value for verdict in flagged))
        assert all(item.is_anomaly and item.time for item in found)
        for item in found:
            (window_row, *_) = results.windows(item.uri, item.model)
            view = media.view(item.uri, item.model, window_row.channel, window_row.start_sample)
            assert view.cells or view.overlay(), (item.uri, view)
            assert (view.sound is None) == (item.model == "transfers")
        mixed = by_name["normal", ".flac"]
        assert mixed.uri.endswith(".mix.flac")
        heard = media.view(mixed.uri, mixed.model, 0, 0).sound
        assert heard
        np.testing.assert_allclose(heard.samples[0, :4096], noise.mean(axis=1)[:4096], atol=2e-4)
    assert running.metrics()["avizor_keep_ok"] == 1
    assert running.metrics()['avizor_flagged_kept_total{model="normal"}'] >= 4


def test_only_their_owner_can_read_what_is_kept(keeping: tuple[Gateway, Path]) -> None:
    running, folder = keeping
    keep_one(running, folder, source="a")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*")) if path.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o600}


@pytest.mark.parametrize("source", ["../../etc", "/etc/passwd", "a/../../x", "..", "", "\n\x1b[31m", "x" * 5000, "😀", "other"])
def test_a_hostile_source_stays_within_the_folder_and_is_shown_as_it_is(keeping: tuple[Gateway, Path], source: str) -> None:
    running, folder = keeping
    keep_one(running, folder, source)
    assert source in {item.source for item in kept(folder)}
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}
    assert {path.parent.name.partition("-")[0] for path in (folder / "items").glob("*/*")} <= {"a", "b", "other"}


def test_what_a_caller_alone_calls_odd_is_not_kept(keeping: tuple[Gateway, Path]) -> None:
    running, folder = keeping
    before = len(rows(folder))
    (verdict,) = detect(running, pb.Item(source="a", audio=normal(7)), alpha=0.999)
    assert verdict.is_anomaly
    keep_one(running, folder, source="a")  # what comes later is there, and it is not
    assert len(rows(folder)) == before + 1


def test_the_review_page_shows_new_items_when_it_is_loaded_again(keeping: tuple[Gateway, Path]) -> None:
    running, folder = keeping
    keep_one(running, folder, source="b")
    with review_page(folder) as page:
        before = tally(page)
        detect(running, *[pb.Item(source="b", audio=odd())] * 3)
        until("the page has three more", lambda: tally(page) == before + 3)
        first = kept(folder)[0]
        assert page.say(first.uri, first.model, "abnormal", note="a bearing").status == 303
        assert "a bearing" in page.ask(f"/item?uri={first.uri.replace('#', '%23')}&model={first.model}").text


def tally(page: Page) -> int:
    text = page.ask("/").text
    return int(text.split("<strong>")[1].split("</strong>")[0]) if "<strong>" in text else 0


def test_an_alarm_of_a_stream_is_kept_with_the_sound_around_it(keeping: tuple[Gateway, Path]) -> None:
    running, folder = keeping
    before = {uri for uri, _ in rows(folder)}
    rng = np.random.default_rng(1)
    calm, loud = tone(40.0, seed=3), np.clip(0.3 * rng.standard_normal(20 * SAMPLE_RATE), -1, 1).astype(np.float32)
    sound = np.rint(np.concatenate([calm, loud, tone(40.0, seed=4)]) * 32767).astype("<i2")
    start = pb.MonitorStart(detector="normal", source="a", sample_rate=SAMPLE_RATE, false_alarms_per_hour=200)

    def messages() -> Iterator[pb.MonitorRequest]:
        yield pb.MonitorRequest(start=start)
        for first in range(0, len(sound), 4000):
            yield pb.MonitorRequest(pcm=sound[first : first + 4000].tobytes())

    with grpc.insecure_channel(running.address) as channel:
        answers = list(running.stub(channel).Monitor(messages()))
    windows = [answer.window for answer in answers if answer.HasField("window")]
    assert answers[-1].ended.alarms == 1
    until("the alarm is kept", lambda: {uri for uri, _ in rows(folder)} - before)
    time.sleep(1)
    new = sorted((item for item in kept(folder) if item.uri not in before), key=lambda item: item.uri)
    assert [item.source for item in new] == ["a"] * len(new)
    assert all(item.is_anomaly for item in new)
    heard = []
    with Results.open(folder) as results, Media(results) as media:
        for item in new:
            rows_of = results.windows(item.uri, item.model)
            assert len(rows_of) == item.windows
            heard += [row.score for row in rows_of]
            most = max(rows_of, key=lambda row: row.score or 0)
            view = media.view(item.uri, item.model, most.channel, most.start_sample)
            assert view.overlay()
            assert view.sound
    scores = [window.score for window in windows]
    first = next(place for place in range(len(scores)) if scores[place : place + 3] == pytest.approx(heard[:3]))
    assert scores[first : first + len(heard)] == pytest.approx(heard), "all windows, in their order, none twice"
    in_alarm = [place for place, window in enumerate(windows) if window.alarm]
    assert first < in_alarm[0] - 5
    assert first + len(heard) > in_alarm[-1] + 5


def test_a_killed_gateway_leaves_what_can_be_read_and_the_next_one_goes_on(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flagged"
    for round in range(3):
        with gateway(models, *ALPHA, "--keep-flagged", folder) as running:
            seen = len(rows(folder))
            for _ in range(400):
                detect(running, *[pb.Item(source="a", audio=odd())] * 2)
                if len(rows(folder)) > seen + 4:
                    break
            os.kill(running.process.pid, 9)
            running.process.wait()
        items = kept(folder)
        assert len(items) == len(rows(folder)) == len({item.uri for item in items}) > 0, round
    with Results.open(folder) as results, Media(results) as media:
        for item in items:
            assert media.view(item.uri, item.model, 0, 0).sound
    with gateway(models, *ALPHA, "--keep-flagged", folder):  # its thread opens the folder a little after it is ready
        until("only what counts is there", lambda: stems(folder / "recordings") == stems(folder / "commits"))
    assert len(stems(folder / "commits")) <= 2, "a new process goes on with the part of the last one, unless that is full"


def test_the_report_is_of_what_was_kept_and_a_calibration_of_it_is_refused(
    keeping: tuple[Gateway, Path], models: Path, tmp_path: Path
) -> None:
    running, folder = keeping
    keep_one(running, folder, source="b")
    for command in (
        ["report", folder, "--out", tmp_path / "page.html"],
        ["calibrate", "normal", "--models", models, "--from-review", folder],
    ):
        done = warm_run([str(AVIZOR), *map(str, command)])
        if command[0] == "report":
            assert done.returncode == 0, done.stderr
            page = (tmp_path / "page.html").read_text()
            assert "A gateway has kept these items because it flagged them" in page
            assert '<audio controls preload="none" src="data:' in page
            assert 'class="verdict"' not in page, "shares of what was kept because it was flagged say nothing"
        else:
            assert done.returncode == 1
            assert "no random sample" in done.stderr


def test_workers_keep_beside_one_another(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flagged"
    with gateway(models, *ALPHA, "--keep-flagged", folder, "--workers", 2) as running:
        for _ in range(30):  # each call may reach another worker
            assert all(verdict.is_anomaly for verdict in detect(running, *[pb.Item(source="a", audio=odd())] * 4))
        until("all are kept", lambda: len(rows(folder)) == 120)
        until("and counted", lambda: running.metrics()['avizor_flagged_kept_total{model="normal"}'] == 120)
    assert len(kept(folder)) == 120
    assert len({uri for uri, _ in rows(folder)}) == 120


def test_a_folder_of_a_job_is_refused(models: Path, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"rows_format": 7, "roots": ["data"]}')
    log = tmp_path / "log"
    with pytest.raises(AssertionError, match="did not start"), gateway(models, *ALPHA, "--keep-flagged", tmp_path, log=log):
        pass
    assert "choose another folder" in log.read_text()
