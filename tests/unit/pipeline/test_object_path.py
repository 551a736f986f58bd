"""items/object_path.py: the methods of a path, against a real server of S3."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.object_stores import S3

from avizor_inference.digests import sha256_of_file
from avizor_inference.errors import SettingsError
from avizor_inference.items import object_path
from avizor_inference.items.object_path import ObjectPath
from avizor_pipeline.sinks.output_files import (
    each_at_once,
    files_of,
    opened,
    output_path,
    part_batches,
    publish,
    publish_folder,
    read_part,
    remove,
    temporary_for,
)


@pytest.fixture
def out(s3: S3) -> ObjectPath:
    return ObjectPath.parse(s3.url("a/run/"))


def test_a_url_is_one_place_with_and_without_a_slash_at_its_end(s3: S3) -> None:
    assert str(ObjectPath.parse("s3://bucket/a/b/")) == "s3://bucket/a/b" == str(ObjectPath.parse("s3://bucket/a/b"))
    path = ObjectPath.parse("gs://bucket") / "windows" / "x.parquet"
    assert (str(path), path.name, path.stem, str(path.parent)) == (
        *("gs://bucket/windows/x.parquet", "x.parquet", "x"),
        "gs://bucket/windows",
    )
    assert output_path("results/a") == Path("results/a")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://host/results", "cannot be written to http://"),
        ("file:///results", "cannot be written to file://"),
        ("s3://", "names no place"),
        ("s3://bucket//a", "names no place"),
        ("s3://bucket/../a", "names no place"),
        ("s3://bucket/a\nb", "names no place"),
        ("s3://bucket/a\udcff", "names no place"),
        ("s3://key:hidden@bucket/a", "may hold a password"),
        ("az://box/a?sig=hidden", "may hold a password"),
    ],
)
def test_a_url_that_is_no_place_for_results_is_refused_without_showing_a_secret(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        output_path(url)
    assert "hidden" not in str(refused.value)


def test_objects_are_written_listed_read_and_removed(s3: S3, out: ObjectPath) -> None:
    (out / "windows" / "b.parquet").put(b"second")
    (out / "windows" / "a.parquet").put(b"first")
    (out / "job.json").put(b"{}")
    s3.put("a/running/other", b"")
    assert out.names() == ["job.json", "windows"]
    assert files_of(out / "windows", ".parquet") == [out / "windows" / "a.parquet", out / "windows" / "b.parquet"]
    assert (out / "windows" / "a.parquet").read_bytes() == b"first"
    assert (out / "job.json").exists()
    remove(out / "windows")
    remove(out / "windows")
    assert out.names() == ["job.json"]
    with pytest.raises(FileNotFoundError):
        (out / "windows" / "a.parquet").read_bytes()
    assert "a/running/other" in [each["Key"] for each in s3.client.list_objects_v2(Bucket=s3.bucket)["Contents"]]


def test_an_object_that_makes_a_folder_visible_is_not_in_it(s3: S3, out: ObjectPath) -> None:
    s3.put("a/run/", b"")
    assert out.names() == []


def test_a_new_object_replaces_none_and_an_answer_that_was_lost_is_known_again(out: ObjectPath) -> None:
    path = out / "rounds" / "000001.parquet"
    first = path.put(b"mine", new=True)
    assert path.put(b"mine", new=True) == first
    with pytest.raises(FileExistsError):
        path.put(b"theirs", new=True)
    second = path.put(b"next", version=first)
    with pytest.raises(FileExistsError):
        path.put(b"late", version=first)
    assert path.read_version() == (b"next", second)


@pytest.mark.parametrize("setting", ["etag", "disabled"])
def test_a_store_without_conditions_is_asked_before(setting: str, monkeypatch: pytest.MonkeyPatch, s3: S3) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", setting)
    path = ObjectPath.parse(s3.url("run")) / "job.lock"
    version = path.put(b"mine", new=True)
    with pytest.raises(FileExistsError):
        path.put(b"theirs", new=True)
    with pytest.raises(FileExistsError):
        path.put(b"theirs", version=('"other"', None))
    path.put(b"again", version=version)
    assert path.read_bytes() == b"again"


def test_a_large_file_is_sent_in_pieces_and_seen_only_when_the_last_has_come(
    monkeypatch: pytest.MonkeyPatch, s3: S3, out: ObjectPath
) -> None:
    monkeypatch.setattr("avizor_inference.items.object_path._PUT_BYTES", 6 * 2**20)
    monkeypatch.setattr("avizor_inference.items.object_path._PIECE_BYTES", 5 * 2**20)
    path = out / "windows" / "large.parquet"
    temporary = temporary_for(path)
    temporary.write_bytes(os.urandom(12 * 2**20))
    digest, seen = sha256_of_file(temporary), []

    def look(environ: dict[str, object]) -> None:
        if environ["REQUEST_METHOD"] in ("PUT", "POST"):
            listed = s3.client.list_objects_v2(Bucket=s3.bucket).get("Contents", [])
            seen.append([each["Key"] for each in listed])

    s3.fault = look
    publish(temporary, path)
    assert seen == [[]] * 5  # begin, three pieces, end
    assert path.sha256() == digest
    assert not temporary.exists()


def test_a_file_in_pieces_that_the_store_refuses_leaves_no_pieces(
    monkeypatch: pytest.MonkeyPatch, s3: S3, out: ObjectPath
) -> None:
    monkeypatch.setattr("avizor_inference.items.object_path._PUT_BYTES", 6 * 2**20)
    path = out / "windows" / "large.parquet"
    temporary = temporary_for(path)
    temporary.write_bytes(bytes(12 * 2**20))
    s3.fault = lambda environ: ("403 Forbidden", b"") if "partNumber=2" in environ.get("QUERY_STRING", "") else None
    with pytest.raises(OSError, match="the store refuses it"):
        publish(temporary, path)
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=s3.bucket)
    assert out.names() == []


def test_parquet_is_read_from_a_store_and_only_the_columns_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, s3: S3, out: ObjectPath
) -> None:
    table = pa.table({"uri": [str(number) for number in range(1000)], "embedding": [os.urandom(4096)] * 500 + [b""] * 500})
    file = io.BytesIO()
    pq.write_table(table, file, compression="none", use_dictionary=False)
    path = out / "windows" / "a.parquet"
    path.put(file.getvalue())
    assert pq.read_table(opened(path)).equals(table)
    monkeypatch.setattr("avizor_inference.items.object_path._WHOLE_BYTES", 2**20)
    monkeypatch.setattr("avizor_inference.items.object_path._BLOCK_BYTES", 2**16)
    assert pq.read_table(opened(path)).equals(table)
    s3.requests.clear()
    assert pq.read_table(opened(path), columns=["uri"])["uri"].equals(table["uri"])
    fetched = [range.removeprefix("bytes=").split("-") for _, range in s3.about("a/run/windows/a.parquet") if range]
    assert 0 < sum(int(last) - int(first) for first, last in fetched) < 2**20 < len(file.getvalue())


def test_two_versions_of_a_large_object_are_not_read_as_one(out: ObjectPath) -> None:
    path = out / "windows" / "large.parquet"
    path.put(bytes(6 * 2**20))
    with path.open() as file:
        file.read(10)
        path.put(b"1" * 6 * 2**20)
        file.seek(5 * 2**20)
        with pytest.raises(OSError, match="it was replaced while it was read"):
            file.read(10)


def test_a_folder_of_files_replaces_what_was_below_its_name(s3: S3, out: ObjectPath) -> None:
    (out / "raven" / "old.txt").put(b"old")
    temporary = temporary_for(out / "raven")
    temporary.mkdir()
    for name in ("a.txt", "b.txt"):
        (temporary / name).write_text(name)
    publish_folder(temporary, out / "raven")
    assert (out / "raven").names() == ["a.txt", "b.txt"]
    assert not temporary.exists()


def test_a_missing_bucket_is_not_taken_for_a_missing_object(s3: S3) -> None:
    with pytest.raises(OSError, match="the bucket does not exist"):
        (ObjectPath.parse("s3://nobody-has-this/run") / "job.json").read_bytes()


def test_buckets_of_one_name_on_two_servers_have_two_working_folders(out: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    here = out.working_folder()
    assert out.working_folder() == here
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert out.working_folder() != here


def test_a_working_folder_that_another_user_could_fill_is_refused(out: ObjectPath, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"avizor-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        out.working_folder()


def test_what_is_read_at_once_comes_in_order_and_is_not_read_far_ahead(out: ObjectPath) -> None:
    begun = []
    found = each_at_once(out, range(1000), lambda number: begun.append(number) or number * 2)  # type: ignore[func-returns-value]
    assert next(found) == (0, 0)
    assert len(begun) < 100
    assert list(found) == [(number, 2 * number) for number in range(1, 1000)]


ENDS = """
import os, sys
from avizor_inference.items.object_path import ObjectPath
from avizor_pipeline.sinks.output_files import part_batches, read_part
part, codes = ObjectPath.parse(sys.argv[1]), []
for _ in range(24):
    if not (process := os.fork()):
        assert sum(batch.num_rows for batch in part_batches(part, ["uri"])) == 1
        assert read_part(part, ["uri"]).to_pydict() == {"uri": ["a.wav"]}
        sys.exit()
    codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
print(set(codes))
"""


@pytest.mark.slow
def test_a_process_that_has_read_a_small_object_and_ends_is_not_aborted(out: ObjectPath) -> None:
    """Arrow's threads let go of a file of Python when it has been read: one in eight processes that ended then was aborted."""
    pq.write_table(pa.table({"uri": ["a.wav"]}), written := io.BytesIO())
    (out / "part.parquet").put(written.getvalue())
    ended = subprocess.run([sys.executable, "-c", ENDS, str(out / "part.parquet")], capture_output=True, text=True, timeout=120)
    assert ended.stdout == "{0}\n", ended.stderr


def test_a_small_object_is_read_by_arrow_in_the_thread_that_asks(out: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    readers, whole = set[int](), ObjectPath.open

    class Seen(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            readers.add(threading.get_ident())
            return super().read(size)

    monkeypatch.setattr(ObjectPath, "open", lambda part: Seen(whole(part).read()))
    rows = pa.table({"uri": ["a.wav", "b.wav"], "score": [0.5, 2.0]})
    pq.write_table(rows, written := io.BytesIO(), row_group_size=1)
    (out / "part.parquet").put(written.getvalue())
    assert read_part(out / "part.parquet").equals(rows)
    assert [batch.num_rows for batch in part_batches(out / "part.parquet", ["uri"], 1)] == [1, 1]
    assert readers == {threading.get_ident()}


def test_a_large_object_is_read_by_arrow_in_the_thread_that_asks(out: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of Arrow lets go of a file of Python as the process ends, in a quarter of small programs, and aborts it."""
    monkeypatch.setattr(object_path, "_WHOLE_BYTES", 100)
    readers, read = set[int](), object_path._Reader.readinto

    def seen(reader: object_path._Reader, buffer: object) -> int:
        readers.add(threading.get_ident())
        return read(reader, buffer)

    monkeypatch.setattr(object_path._Reader, "readinto", seen)
    rows = pa.table({"score": [0.5, 2.0, 1.0], "uri": ["a.wav", "b.wav", "b.wav"], "is_anomaly": [False, True, None]})
    pq.write_table(rows, written := io.BytesIO(), row_group_size=1)
    (out / "part.parquet").put(written.getvalue())
    columns, flagged = ["uri", "score", "is_anomaly"], pc.field("is_anomaly")
    assert read_part(out / "part.parquet").equals(rows)
    assert read_part(out / "part.parquet", columns, flagged).to_pydict() == {
        "uri": ["b.wav"],
        "score": [2.0],
        "is_anomaly": [True],
    }
    texts = read_part(out / "part.parquet", ["uri"], dictionaries=["uri"])["uri"]
    assert (texts.type, texts.to_pylist()) == (pa.dictionary(pa.int32(), pa.string()), ["a.wav", "b.wav", "b.wav"])
    assert [batch.num_rows for batch in part_batches(out / "part.parquet", ["uri"], 2)] == [2, 1]
    assert readers == {threading.get_ident()}


def test_a_part_is_read_from_a_disk_as_from_a_store(out: ObjectPath, tmp_path: Path) -> None:
    rows = pa.table({"uri": ["a.wav", "b.wav"], "is_anomaly": [True, False]})
    for part in (tmp_path / "part.parquet", out / "part.parquet"):
        pq.write_table(rows, temporary := temporary_for(part))
        publish(temporary, part)
    for columns, where in ((None, None), (["is_anomaly", "uri"], None), (["is_anomaly"], ~pc.field("is_anomaly"))):
        on_disk = read_part(tmp_path / "part.parquet", columns, where)
        assert read_part(out / "part.parquet", columns, where).equals(on_disk)
        assert on_disk.column_names == (columns or rows.column_names)
