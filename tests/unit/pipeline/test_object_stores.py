"""A dataset gives the same rows in an object store as on the disk, and what a store does not give is told of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.object_stores import S3, http_files, reached, s3_server
from support.packed import png, write_column, write_tar
from support.sounds import tone, write_wav

from avizor_inference import object_store
from avizor_inference.errors import StoreUnavailable
from avizor_inference.items.object_files import check_store
from avizor_pipeline.estimate import estimate
from avizor_pipeline.job_context import open_context
from avizor_pipeline.models import open_models
from avizor_pipeline.plan import Plan, plan_job
from avizor_pipeline.request import JobRequest
from avizor_pipeline.runners.local import LocalRunner
from avizor_pipeline.settings import JobSettings
from avizor_pipeline.shard_run import ShardRun, read_only
from avizor_pipeline.sharding import shards
from avizor_pipeline.sinks.rounds import store_round
from avizor_pipeline.watch import Watch


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, which this process and those that it starts may use; it gives up soon on one that is away."""
    monkeypatch.setattr(object_store, "_PATIENT", object_store._HASTY | {"max_retries": 1})
    with reached(server, monkeypatch):
        yield server


Tables = dict[str, list[dict[str, Any]]]


def tables(request: JobRequest, out: Path) -> Tables:
    """What a job writes, run in this process: its tables, by uri."""
    out.mkdir()
    settings = request.to_settings()
    context = open_context(settings, out)
    for shard in shards(settings, context.source.list()):
        ShardRun(context, shard).run()()
    return {path.name: pq.read_table(path).sort_by("uri").to_pylist() for path in out.iterdir() if path.name != "commits"}


def moved(rows: Tables, from_: str, to: str) -> Tables:
    """The tables as they are when the dataset is elsewhere."""
    return {
        name: [{**row, **{key: row[key].replace(from_, to) for key in ("uri", "message") if key in row}} for row in each]
        for name, each in rows.items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind that a job reads, some of them broken."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        for source in "ab":
            write_wav(folder / "sounds" / source / f"{number} #é.wav", tone(1.0, seed=number))
    (folder / "sounds" / "a" / "broken.wav").write_bytes(b"RIFF")
    (folder / "sounds" / "a" / "empty.wav").write_bytes(b"")
    names = [f"{path.parent.name}/{path.name}" for path in sorted((folder / "sounds").rglob("*.wav"))]
    (folder / "sounds" / "list.txt").write_text("".join(f"{name}\n" for name in names))
    (folder / "sounds" / "list.csv").write_text("path,machine\n" + "".join(f"{name},m\n" for name in names))
    pq.write_table(pa.table({"path": names, "machine": ["m"] * len(names)}), folder / "sounds" / "list.parquet")
    pictures = {f"{source}/{number}.png": png(number) for number in range(4) for source in "ab"} | {"a/x.png": b"\x89PNG"}
    (folder / "pictures").mkdir()
    for name, data in pictures.items():
        (folder / "pictures" / name).parent.mkdir(exist_ok=True)
        (folder / "pictures" / name).write_bytes(data)
    write_tar(folder / "pictures.tar", pictures)
    write_tar(folder / "pictures.tar.gz", pictures)
    write_column(folder / "pictures.parquet", pictures, rows=2)
    arrays = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1), np.uint8)
    np.save(folder / "pictures.npy", arrays)
    np.savez_compressed(folder / "pictures.npz", arrays)
    (folder / "rows.csv").write_text("bank,amount,hour,country\na,12,3,ES\nb,13\na,,5,IT\nb,x,4,FR\n")
    table = pa.table({"amount": [1.0, None, 3.0], "hour": [1, 2, 3], "country": ["ES", "FR", None]})
    pq.write_table(table, folder / "rows.parquet", row_group_size=2)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path, server: S3) -> str:
    """Where the same files are in the store."""
    return server.put_folder(folder, "data")


@pytest.mark.parametrize(
    ("root", "model", "more"),
    [
        ("sounds", "normal", {}),
        ("sounds/**/*.wav", "kinds", {}),
        ("sounds/b/2 #é.wav", "normal", {}),
        ("sounds/list.csv", "normal", {"path_column": "path", "source_column": "machine"}),
        ("sounds/list.parquet", "normal", {"path_column": "path", "source_column": "machine"}),
        ("pictures", "digits", {}),
        ("pictures.tar", "digits", {}),
        ("pictures.tar.gz", "digits", {}),
        ("pictures.parquet", "digits", {"bytes_column": "image", "source_column": "machine"}),
        ("pictures.npy", "digits", {}),
        ("pictures.npz", "digits", {}),
        ("rows.csv", "transfers", {"source_column": "bank"}),
        ("rows.parquet", "transfers", {}),
    ],
)
def test_the_rows_are_those_of_the_disk(
    root: str, model: str, more: dict[str, str], folder: Path, url: str, s3: S3, models: Path, tmp_path: Path
) -> None:
    there = tables(JobRequest((f"{url}/{root}",), (model,), models, alpha=0.05, **more), tmp_path / "there")  # type: ignore[arg-type]
    here = tables(JobRequest((f"{folder}/{root}",), (model,), models, alpha=0.05, **more), tmp_path / "here")  # type: ignore[arg-type]
    assert here["recordings"]
    assert moved(here, str(folder), url) == there


def test_a_list_in_a_store_names_files_below_it_and_anywhere(
    folder: Path, url: str, s3: S3, models: Path, tmp_path: Path
) -> None:
    local, here = folder / "sounds" / "a" / "1 #é.wav", f"{url}/sounds/a/0 #é.wav"
    s3.put("elsewhere/list.txt", f"../x.wav\n{here}\n{local}\nnear.wav\n{url}/gone.wav\n".encode())
    s3.put("elsewhere/near.wav", local.read_bytes())
    rows = tables(JobRequest((s3.url("elsewhere/list.txt"),), ("normal",), models, alpha=0.05), tmp_path / "out")
    assert [row["uri"] for row in rows["recordings"]] == [str(local), here, s3.url("elsewhere/near.wav")]
    gone, above = (row["message"] for row in rows["dead_letters"])
    assert gone == "gone.wav: there is no such object in the store"
    assert above.startswith("its name cannot be read")


def test_a_small_object_is_one_request_and_no_other_is_made_for_it(
    folder: Path, url: str, s3: S3, models: Path, tmp_path: Path
) -> None:
    tables(JobRequest((f"{url}/sounds",), ("normal",), models, alpha=0.05), tmp_path / "out")
    for path in (folder / "sounds").rglob("*.wav"):
        told_apart = [("HEAD", "")] * (not path.stat().st_size)  # an empty one, from a folder's marker
        assert s3.about(f"data/sounds/{path.relative_to(folder / 'sounds')}") == [*told_apart, ("GET", "")]


def test_files_of_a_server_without_a_listing_are_read_by_their_urls(folder: Path, s3: S3, models: Path, tmp_path: Path) -> None:
    with http_files(folder) as address:
        path = tmp_path / "list.txt"
        path.write_text(
            f"{address}/sounds/a/0%20%23%C3%A9.wav\n{address}/sounds/b/1%20%23%C3%A9.wav\n{address}/sounds/zz.wav\n"
        )
        request = JobRequest((str(path), f"{address}/pictures.tar"), ("normal", "digits"), models, alpha=0.05)
        rows = tables(request, tmp_path / "out")
        here = tables(JobRequest((f"{folder}/pictures.tar",), ("digits",), models, alpha=0.05), tmp_path / "here")
    assert len(rows["recordings"]) == len(here["recordings"]) + 2
    assert {row["uri"]: row["label"] for row in rows["recordings"] if row["model"] == "digits"} == {
        f"{address}/pictures.tar#{row['uri'].partition('#')[2]}": row["label"] for row in here["recordings"]
    }
    assert "there is no such object" in next(row["message"] for row in rows["dead_letters"] if "zz" in row["uri"])


def planned(settings: JobSettings, out: Path, *, redo: bool = False) -> Plan:
    """Plan a run, and keep its round."""
    plan = plan_job(settings, out, redo=redo)
    if plan.new:
        store_round(out, plan.new, len(plan.rounds) + 1)
    return plan


def test_objects_that_are_new_replaced_or_gone_are_known(s3: S3, models: Path, tmp_path: Path) -> None:
    for name in "abc":
        s3.put(f"daily/{name}.wav", b"first version")
    out = tmp_path / "out"
    out.mkdir()
    settings = JobRequest((s3.url("daily/"),), ("normal",), models, alpha=0.05).to_settings()
    assert planned(settings, out).files == 3
    assert planned(settings, out).new is None
    s3.put("daily/a.wav", b"other version")  # in the same second, and as long
    s3.put("daily/d.wav", b"first version")
    s3.client.delete_object(Bucket=s3.bucket, Key="daily/b.wav")
    changes = planned(settings, out).changes
    assert (changes.new, str(changes.changed), str(changes.gone)) == (1, s3.url("daily/a.wav"), s3.url("daily/b.wav"))
    assert list(planned(settings, out, redo=True).moved.values()) == [3]
    elsewhere = JobRequest((f"{s3.url()}//daily",), ("normal",), models, alpha=0.05).to_settings()
    assert elsewhere.places == settings.places


@pytest.mark.parametrize("most", [2, 1])
def test_a_store_is_asked_for_old_objects_only_if_they_are_few_and_not_waited_for(
    most: int, s3: S3, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avizor_pipeline.plan._MOST_ASKED", most)
    out, list_file = tmp_path / "out", tmp_path / "today.txt"
    out.mkdir()
    settings = JobRequest((str(list_file),), ("normal",), models, alpha=0.05).to_settings()
    list_file.write_text("".join(f"{s3.put(f'cron/{name}.wav', b'1')}\n" for name in "ab"))
    assert planned(settings, out).files == 2
    list_file.write_text(f"{s3.put('cron/c.wav', b'1')}\n")
    s3.client.delete_object(Bucket=s3.bucket, Key="cron/a.wav")
    s3.requests.clear()
    changes = planned(settings, out).changes
    assert (changes.gone.count, changes.unlisted.count) == ((1, 1) if most == 2 else (0, 2))
    assert len(s3.requests) == (3 if most == 2 else 1)
    s3.fault = lambda environ: ("503 Slow Down", b"") if environ["PATH_INFO"].endswith("b.wav") else None
    assert planned(settings, out).changes.unlisted.count >= 1


def test_an_object_that_is_replaced_or_deleted_after_the_listing_is_a_dead_letter(
    folder: Path, s3: S3, models: Path, tmp_path: Path
) -> None:
    data = (folder / "sounds" / "a" / "0 #é.wav").read_bytes()
    for name in "abc":
        s3.put(f"moving/{name}.wav", data)
    write_tar(tmp_path / "p.tar", {"1.png": png(1), "2.png": png(2)})
    s3.put("moving/p.tar", (tmp_path / "p.tar").read_bytes())
    settings = JobRequest((s3.url("moving"),), ("normal", "digits"), models, alpha=0.05).to_settings()
    context = open_context(settings, tmp_path)
    (shard,) = shards(settings, context.source.list())
    s3.put("moving/a.wav", data[:-2] + b"zz")
    s3.put("moving/p.tar", (tmp_path / "p.tar").read_bytes() + bytes(512))
    s3.client.delete_object(Bucket=s3.bucket, Key="moving/b.wav")
    ShardRun(context, shard).run()()
    rows = pq.read_table(tmp_path / "dead_letters").sort_by("uri").to_pylist()
    assert [row["message"].split(": ")[1].split(";")[0].split(",")[0] for row in rows] == [
        "the object was changed since it was listed",
        "there is no such object in the store",
        "the file was changed since it was listed",
        "the file was changed since it was listed",
    ]
    assert [row["uri"] for row in pq.read_table(tmp_path / "recordings").to_pylist()] == [s3.url("moving/c.wav")]


DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


def test_what_concerns_one_object_is_a_dead_letter(url: str, s3: S3, models: Path, tmp_path: Path) -> None:

    def fault(environ: dict[str, Any]) -> tuple[str, bytes] | None:
        if environ["PATH_INFO"].endswith("0 #\xc3\xa9.wav") and "/a/" in environ["PATH_INFO"]:
            return "403 Forbidden", DENIED
        return ("500 Internal Server Error", b"") if "/b/0" in environ["PATH_INFO"] else None

    s3.fault = fault
    rows = tables(JobRequest((f"{url}/sounds",), ("normal",), models, alpha=0.05), tmp_path / "out")
    assert len(rows["recordings"]) == 4
    messages = {row["uri"].removeprefix(f"{url}/sounds"): row["message"] for row in rows["dead_letters"]}
    assert "the store refuses it (AccessDenied); see its permissions" in messages["/a/0 #é.wav"]
    assert "the store does not give it" in messages["/b/0 #é.wav"]
    assert "secret" not in str(messages)


SLOW_DOWN, TOO_OLD = ("503 Slow Down", b""), ("400 Bad Request", EXPIRED)


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("data/sounds", SLOW_DOWN, "503"),
        ("data/sounds", TOO_OLD, "the credentials have expired"),
        ("data/pictures.tar", TOO_OLD, "the credentials have expired"),
        ("long.wav", SLOW_DOWN, "503"),
    ],
)
def test_a_store_that_is_away_stops_the_job(
    name: str, answer: tuple[str, bytes], told: str, url: str, s3: S3, models: Path, tmp_path: Path
) -> None:
    if name == "long.wav":
        write_wav(tmp_path / name, tone(530.0))
        s3.put(name, (tmp_path / name).read_bytes())
    settings = JobRequest((s3.url(name),), ("normal", "digits"), models, alpha=0.05).to_settings()
    context = open_context(settings, tmp_path)
    entries = list(context.source.list())
    asked: list[str] = []

    def fault(environ: dict[str, Any]) -> tuple[str, bytes] | None:
        asked.append(environ["PATH_INFO"])
        return answer if len(asked) > 1 or name != "long.wav" else None  # the first part of a long sound is there

    s3.fault = fault
    (shard,) = shards(settings, entries)
    with pytest.raises(StoreUnavailable, match=told):
        ShardRun(context, shard).run()()
    assert not list((tmp_path / "commits").glob("*"))
    asked.clear()
    with pytest.raises(StoreUnavailable, match=told):
        read_only(context, shard, Watch())
    check_store()  # nothing is left of it for the next file


def test_a_dry_run_fetches_nothing_of_pictures(s3: S3, models: Path, tmp_path: Path) -> None:
    for number in range(5):
        s3.put(f"pictures/{number}.png", png(number))
    settings = JobRequest((s3.url("pictures"),), ("digits",), models, alpha=0.05).to_settings()
    plan = plan_job(settings)
    s3.requests.clear()
    found = estimate(settings, open_models(settings), plan, LocalRunner(1), 1, frozenset(plan.shards))
    assert (found.files, found.items, found.windows, found.unreadable) == (5, 5, 5, 0)
    assert s3.requests == []
