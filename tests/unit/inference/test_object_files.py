"""object_files.py: what is below a URL, and objects as files, from a real server of S3."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.object_stores import S3, http_files, reached, s3_server
from support.sounds import SOUND, tone, write_wav

from avizor_export.data.held_out import read_held_out
from avizor_inference import object_store
from avizor_inference.errors import DatasetError, MediaError, SettingsError, StoreUnavailable
from avizor_inference.items import object_listing
from avizor_inference.items.data.item_files import read_recordings, sample_items
from avizor_inference.items.data.table_data import read_table
from avizor_inference.items.dataset import list_dataset
from avizor_inference.items.file_access import name_of, path_of
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.input_spec import ImageInput, NumberColumn, TableFrontEnd, TableInput, TensorInput
from avizor_inference.items.object_files import ReadAhead, object_state, open_object, read_object
from avizor_inference.items.object_listing import gone_objects, objects_below
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.object_store import StoreState, place_of_url, url_of


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with reached(server, monkeypatch):
        yield server


# The library's package gets its names last, after its module `store`, which is whole by then and uses them.
TWO_READERS = """
import importlib.abc, importlib.machinery, sys, threading, time, types
from pathlib import Path
from avizor_inference.items.object_files import read_object

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "obstore.store":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (run(module), sys.modules.update({"obstore._obstore": Names("names")}))
        return spec

class Names(types.ModuleType):
    def __getattr__(self, name):
        if name == "__all__":
            time.sleep(1)
        return getattr(real(), name)

def real():
    import obstore
    return obstore.__dict__["_obstore"]

sys.meta_path.insert(0, Slow())
readers = [threading.Thread(target=lambda: sys.stdout.write(f'{len(read_object(Path(sys.argv[1])))}\\n')) for _ in range(2)]
readers[0].start()
time.sleep(0.5)
readers[1].start()
"""


def test_threads_that_come_first_wait_until_the_library_is_loaded(s3: S3) -> None:
    url = s3.put("first/0.bin", b"12345")
    done = subprocess.run([sys.executable, "-c", TWO_READERS, url], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["5", "5"], "")


def test_a_url_stays_itself_as_a_path() -> None:
    for url in ("s3://bucket/a/b c.wav", "gs://bucket/é#1.wav", "az://container/x", "https://host:80/a%20b.wav"):
        assert url_of(Path(url)) == name_of(str(Path(url))) == url
        assert path_of(name_of(str(Path(url)))) == Path(url)
    assert url_of("sounds/s3/a.wav") == "sounds/s3/a.wav"


def test_a_listing_is_in_the_stores_order_and_leaves_out_what_a_folders_does(s3: S3) -> None:
    for key in ("tree/b/2.wav", "tree/b/1.wav", "tree/a-b/x.WAV", "tree/a/x.wav", "treetop.wav"):
        s3.put(key, b"1")
    for key in ("tree/.git/x.wav", "tree/notes.md", "tree/empty folder/"):
        s3.put(key, b"")
    left_out = LeftOut()
    entries = list(list_dataset([Path(s3.url("tree/"))], frozenset({".wav"}), left_out=left_out))
    assert [(entry.uri, entry.source) for entry in entries] == [
        (s3.url(f"tree/{name}"), name.split("/")[0]) for name in ("a-b/x.WAV", "a/x.wav", "b/1.wav", "b/2.wav")
    ]
    assert left_out.counts == {".md": 1, "hidden": 1, "for empty folders": 1}
    for entry in entries:
        assert (entry.size, entry.modified_ns) == object_state(entry.path)
    assert [entry.uri for entry in list_dataset([Path(s3.url("tree/?/*.wav"))], frozenset({".wav"}))] == [
        s3.url(f"tree/{name}.wav") for name in ("a/x", "b/1", "b/2")
    ]
    with pytest.raises(DatasetError, match=r"no file matches s3://recordings/tree/\*\.flac"):
        list(list_dataset([Path(s3.url("tree/*.flac"))], frozenset({".flac"})))


def test_a_listing_takes_several_pages(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    keys = [f"many/{number:04d}.wav" for number in range(25)]
    for key in keys:
        s3.put(key, b"1")
    s3.requests.clear()
    assert [path for path, _ in objects_below(Path(s3.url("many")))] == [Path(s3.url(key)) for key in keys]
    assert len(s3.requests) == 3


def test_what_consoles_make_for_empty_folders_is_counted_and_an_empty_file_is_listed(s3: S3) -> None:
    for key in ("made/", "made/sub/", "made/sub.wav/", "made/empty.wav"):
        s3.put(key, b"")
    s3.put("made/x.wav", b"1")
    left_out = LeftOut()
    entries = list(list_dataset([Path(s3.url("made"))], frozenset({".wav"}), left_out=left_out))
    assert [entry.uri for entry in entries] == [s3.url("made/empty.wav"), s3.url("made/x.wav")]
    assert str(left_out) == "3 for empty folders"


def test_an_answer_that_is_cut_off_is_asked_for_again_but_not_for_ever(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_RESTS_S", (0.0, 0.0))
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "6")
    monkeypatch.setattr(object_listing, "_PAGE", 6)
    keys = [f"cut/{number:04d}.wav" for number in range(17)]
    for key in keys:
        s3.put(key, b"1")
    answers = 0

    def cut(environ: dict[str, Any]) -> tuple[str, bytes, int] | None:
        nonlocal answers
        answers += 1
        return ("200 OK", b"<ListBucketResult><Cont", 1000) if answers % 3 else None

    s3.fault = cut
    assert [path for path, _ in objects_below(Path(s3.url("cut")))] == [Path(s3.url(key)) for key in keys]
    assert read_object(Path(s3.url(keys[0]))) == b"1"
    s3.fault = lambda environ: ("200 OK", b"<ListBucketResult><Cont", 1000)
    with pytest.raises(StoreUnavailable, match=r"s3://recordings/cut: .*request or response body error"):
        list(objects_below(Path(s3.url("cut"))))


def test_an_object_is_read_as_a_file_is(s3: S3, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(9 * 2**20)
    (tmp_path / "x").write_bytes(data)
    path = Path(s3.put("large.bin", data))
    s3.requests.clear()
    with open_object(path) as there, (tmp_path / "x").open("rb") as here:
        for step in (there, here):
            step.seek(-100, 2)
        assert there.read() == here.read() == data[-100:]
        for place, size in ((5_000_000, 10), (5_000_010, 3_000_000), (0, 7), (len(data) - 3, 10), (len(data) + 5, 1)):
            assert there.seek(place) == here.seek(place)
            assert there.read(size) == here.read(size)
            assert there.tell() == here.tell()
        there.seek(0)
        assert hashlib.sha256(there.read()).digest() == hashlib.sha256(data).digest()
    asked = [range for _, range in s3.about("large.bin")]
    assert all(int(end) - int(start) < 4 * 2**20 for start, end in (each.removeprefix("bytes=").split("-") for each in asked))
    assert len(asked) < 20


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_small_object_that_is_opened_is_one_request(size: int, s3: S3) -> None:
    path = Path(s3.put("small.bin", bytes(size)))
    s3.requests.clear()
    with open_object(path) as file:
        assert file.read() == bytes(size)
    assert len(s3.requests) == (2 if not size else 1)  # nothing has no parts


def test_an_object_that_is_replaced_while_it_is_read_is_not_read_on(s3: S3) -> None:
    path = Path(s3.put("moving.bin", bytes(2**20)))
    with open_object(path) as file:
        file.read(10)
        s3.put("moving.bin", b"1" * 2**20)
        file.seek(2**19)
        with pytest.raises(OSError, match="the object was changed"):
            file.read(10)


def test_objects_are_read_ahead_as_far_as_memory_is_granted(s3: S3) -> None:
    paths = [Path(s3.put(f"ahead/{number}.bin", bytes([number]) * 1000)) for number in range(6)]
    expected = [(path, object_state(path)) for path in paths]
    ahead = ReadAhead(most_bytes=3000)
    s3.requests.clear()
    ahead.expect(expected)
    ahead.wait(paths[0])
    assert len(s3.requests) <= 3
    assert [ahead.take(path, state)[:1] for path, state in (expected[0], *expected[3:])] == [b"\0", b"\3", b"\4", b"\5"]
    assert ahead.take(*expected[1])[:1] == b"\1"  # it was left out before
    with pytest.raises(MediaError, match="changed"):
        read_object(paths[0], StoreState(1000, 0))


def test_data_for_export_and_calibrate_is_that_of_the_disk(s3: S3, tmp_path: Path) -> None:
    for number in range(6):
        write_wav(tmp_path / "normal" / "ab"[number % 2] / f"{number}.wav", tone(1.5, seed=number))
    np.save(tmp_path / "items.npy", np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8))
    url = Path(s3.put_folder(tmp_path, "data"))
    there, here = (list(read_recordings(root / "normal", SOUND, SourceRule())) for root in (url, tmp_path))
    assert [(one.source, one.windows.tobytes()) for one in there] == [(one.source, one.windows.tobytes()) for one in here]
    assert len(there) == 6
    spec = ImageInput(height=8, width=8, channels=1)
    np.testing.assert_array_equal(sample_items(url / "items.npy", spec, 5), sample_items(tmp_path / "items.npy", spec, 5))
    with pytest.raises(DatasetError, match="s3://recordings/data/none does not exist"):
        list(read_recordings(url / "none", SOUND, SourceRule()))


def test_held_out_items_are_those_of_the_disk(s3: S3, tmp_path: Path) -> None:
    for name in ("good/1.wav", "bad/1.wav", "bad/more/2.wav", ".hidden/1.wav", "1.wav"):
        write_wav(tmp_path / name, tone(1.1, seed=len(name)))
    np.savez(tmp_path / "held-out.npz", items=np.ones((3, 2), np.float32), labels=[0, 1, 0])
    url = Path(s3.put_folder(tmp_path, "held-out"))
    s3.put("held-out/", b"")
    for name, spec in (("", SOUND), ("held-out.npz", TensorInput(name="features", item_shape=(2,)))):
        there, here = (read_held_out(root / name, spec, None) for root in (url, tmp_path))
        np.testing.assert_array_equal(there.items, here.items)
        assert there.labels.tolist() == here.labels.tolist()
        assert set(there.labels) == {0, 1}


def test_a_table_that_a_store_does_not_give_is_named(s3: S3) -> None:
    spec = TableInput(front_end=TableFrontEnd(columns=(NumberColumn(name="a"),)))
    rows = Path(s3.put("rows.csv", b"a\n" + b"1\n" * 400_000))
    assert read_table(rows, spec).data.num_rows == 400_000
    with pytest.raises(DatasetError, match=r"s3://recordings/none.csv: there is no such object"):
        read_table(Path(s3.url("none.csv")), spec)
    answer = ("400 Bad Request", b"<Error><Code>ExpiredToken</Code><Message>.</Message></Error>")
    s3.fault = lambda environ: None if environ.get("HTTP_RANGE", "").startswith("bytes=0-") else answer
    with pytest.raises(StoreUnavailable, match="the credentials have expired"):
        read_table(rows, spec)


def test_a_server_of_files_gives_what_its_urls_name(tmp_path: Path) -> None:
    (tmp_path / "a b.wav").write_bytes(b"1" * 1000)
    with http_files(tmp_path) as address:
        with open_object(Path(f"{address}/a%20b.wav")) as file:
            assert file.read() == b"1" * 1000
        for folder in (address, f"{address}/", f"{address}/folder"):
            with pytest.raises(DatasetError, match="http has no listing of folders; give the URL of one file, or a list"):
                list(list_dataset([Path(folder)], frozenset({".wav"})))
        with (tmp_path / "large.wav").open("wb") as large:
            large.truncate(20 * 2**20)
        with pytest.raises(MediaError, match="the server gives no parts of files"):
            open_object(Path(f"{address}/large.wav"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://", "s3:// names no bucket; write s3://BUCKET/KEY"),
        ("http://user:word@host/a.wav", "http://host/a.wav: a URL with a password or a signature"),
        ("s3://user:word@bucket/a.wav", "s3://bucket/a.wav: a URL with a password or a signature"),
        ("https://host/a.wav?X-Amz-Signature=word", "https://host/a.wav: a URL with a password or a signature"),
        ("az://container/a.wav", "az://container cannot be opened: .*Account must be specified; see docs/object-stores.md"),
    ],
)
def test_a_url_that_cannot_be_opened_is_refused_without_its_secrets(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as refused:
        place_of_url(Path(url))
    assert "word" not in str(refused.value).replace("password", "")


def test_a_store_that_cannot_be_reached_is_told_of_soon(monkeypatch: pytest.MonkeyPatch, s3: S3) -> None:
    with pytest.raises(StoreUnavailable, match="s3://none/x: the bucket does not exist"):
        list(list_dataset([Path("s3://none/x")], frozenset()))
    with pytest.raises(DatasetError, match="an object store's URL begins with s3, gs, az, http or https"):
        list(list_dataset([Path("gcs://bucket/x")], frozenset()))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    object_store._store.cache_clear()
    with pytest.raises(StoreUnavailable, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        list(list_dataset([Path(s3.url("x"))], frozenset()))


def test_a_list_that_names_a_wrong_address_is_refused_soon(monkeypatch: pytest.MonkeyPatch, s3: S3, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    object_store._store.cache_clear()
    # One that would be waited for: the test would take two minutes.
    (tmp_path / "list.txt").write_text("".join(f"s3://recordings/{number}.wav\n" for number in range(100)))
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        list(list_dataset([tmp_path / "list.txt"], frozenset({".wav"})))


def test_a_list_whose_first_object_alone_is_not_given_is_listed(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{s3.put(f'some/{number}.wav', b'1')}\n" for number in range(3)))
    s3.fault = lambda environ: ("503 Slow Down", b"") if environ["PATH_INFO"].endswith("some/0.wav") else None
    assert [entry.size for entry in list_dataset([tmp_path / "list.txt"], frozenset({".wav"}))] == [0, 1, 1]


def test_only_what_a_store_says_is_not_there_is_gone(s3: S3) -> None:
    paths = [Path(s3.put("there.bin", b"1")), Path(s3.url("gone.bin")), Path(s3.put("refused.bin", b"1"))]
    s3.fault = lambda environ: ("403 Forbidden", b"") if environ["PATH_INFO"].endswith("refused.bin") else None
    assert list(gone_objects(paths)) == [False, True, False]
    s3.fault = lambda environ: ("400 Bad Request", b"<Error><Code>ExpiredToken</Code><Message>.</Message></Error>")
    s3.requests.clear()
    assert list(gone_objects(paths * 100)) == [False] * 300
    assert len(s3.requests) < 150


ODD = ("a//b.wav", "b/tab\t.wav", "c/../b.wav", "z\x7f.wav")


@pytest.mark.slow
def test_an_object_whose_name_is_no_path_costs_itself_alone(s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    good = [f"odd/{folder}/{number:04d}.wav" for folder in "abcd" for number in range(1300 if folder == "d" else 3)]
    for key in [*good, *(f"odd/{key}" for key in ODD)]:
        s3.put(key, b"1")
    left_out = LeftOut()
    s3.requests.clear()
    entries = list(list_dataset([Path(s3.url("odd"))], frozenset({".wav"}), left_out=left_out))
    assert [entry.uri for entry in entries] == [s3.url(key) for key in good]
    assert {(entry.size, entry.modified_ns == object_state(entry.path).modified_ns) for entry in entries[::90]} == {(1, True)}
    assert str(left_out) == "4 whose names are no paths"
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == len(ODD)
    for key, line in zip(ODD, named, strict=True):
        assert f"s3://recordings/odd: the object {f'odd/{key}'!r} is left out: a part of its name is empty, `.` or `..`" in line
    assert sum(method == "HEAD" for method, _, _ in s3.requests) < len(good)  # only of the pages that were refused


def test_a_store_whose_odd_names_no_other_client_lists_refuses_with_the_name(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put("alone/tab\t.wav", b"1")
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    wanted = r"recordings/alone cannot be listed because of the object .*tab\\t.* pip install 'avizor\[jobs\]'"
    with pytest.raises(DatasetError, match=wanted):
        list(list_dataset([Path(s3.url("alone"))], frozenset({".wav"})))


def test_a_listing_that_is_refused_is_named_with_its_url(s3: S3) -> None:
    denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    s3.fault = lambda environ: ("403 Forbidden", denied)
    try:
        with pytest.raises(DatasetError, match="s3://recordings/tree cannot be listed: the store refuses it"):
            list(list_dataset([Path(s3.url("tree"))], frozenset({".wav"})))
    finally:
        s3.fault = None


LISTED = "from avizor_inference.items.dataset import list_dataset; list(list_dataset([Path({0!r})], frozenset({{'.wav'}})))"
OUTPUT = "from avizor_pipeline.sinks.output_files import *; out = output_path({0!r}); "


@pytest.mark.parametrize(
    ("place", "waits"),
    [
        ("held", LISTED),
        ("list.txt", LISTED),
        ("out", OUTPUT + "list(each_at_once(out, ['held'], lambda name: (out / name).read_bytes()))"),
        ("out", OUTPUT + "(out / 'held').put(b'1')"),
    ],
)
def test_a_signal_does_not_wait_for_a_store_that_hangs(place: str, waits: str, s3: S3, tmp_path: Path) -> None:
    asked, held = threading.Event(), threading.Event()

    def hold(environ: dict[str, Any]) -> None:
        if "held" in environ["PATH_INFO"] + environ["QUERY_STRING"]:
            asked.set()
            held.wait(120)

    for key in ("list.txt", "held/1.wav"):
        s3.put(key, f"{s3.url('list.txt')}\n{s3.put('1.wav', b'1')}\n{s3.url('held/1.wav')}\n".encode())
    s3.fault = hold
    code = f"from pathlib import Path; {waits.format(s3.url(place))}"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)  # the store would be waited for for minutes
    finally:
        held.set()
        process.kill()
    assert "KeyboardInterrupt" in told
