"""The log: one line for each event, in JSON or for people, and nothing of a client's text passes for anything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from avizor_inference.error_text import printable
from avizor_service.call_record import CallRecord, begin_record
from avizor_service.logs.call_log import CallLog
from avizor_service.logs.rendering import renderer
from avizor_service.logs.writer import LogWriter

CODE = """
import logging, sys
from grpc._cython import cygrpc
from avizor_service.logs.open_log import open_log

with open_log(sys.argv[1], "info", "all", print, int(sys.argv[2])):
    # As grpc.aio writes them: in a call whose client has left, and in one whose answer failed.
    grpc_aio = logging.getLogger("grpc._cython.cygrpc")
    for error in (cygrpc.ExecuteBatchError("Failed execute_batch"), ValueError("of the \\x1b[31mgateway")):
        grpc_aio.error("raised by servicer method [/Embed]", exc_info=error)
    grpc_aio.error("without an exception")
    logging.getLogger("avizor_service.server").info("a client said %r and \\n{}", "x")
    logging.getLogger("uvicorn").info("not ours, and not a warning")
"""


def written(format: str, worker: int = 0) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, format, str(worker)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr.splitlines()


def test_a_client_that_leaves_before_its_answer_is_not_an_error_and_each_event_is_a_line_of_json() -> None:
    first, second, third = map(json.loads, written("json"))
    assert first["exception"] == "ValueError: of the \\x1b[31mgateway"
    assert (first["event"], first["level"], first["logger"]) == (
        "raised by servicer method [/Embed]",
        "error",
        "grpc._cython.cygrpc",
    )
    assert second["event"] == "without an exception"
    assert third["event"] == "a client said 'x' and \\n{}"
    assert third["time"].endswith("Z")
    assert "T" in third["time"]


def test_people_read_the_same_without_a_character_that_acts_on_their_terminal() -> None:
    assert all(map(json.loads, written("auto")))  # a pipe is not a terminal
    text = "\n".join(written("console"))
    assert "ValueError: of the \\x1b[31mgateway" in text
    assert "[error" in text
    assert text.isascii()
    assert "\x1b" not in text


def test_each_line_of_a_worker_has_its_number_and_no_other_line_has_one() -> None:
    assert [line.get("worker") for line in map(json.loads, written("json", worker=3))] == [3, 3, 3]
    assert [line.get("worker") for line in map(json.loads, written("json"))] == [None] * 3


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    assert printable("pump 1, Bäckerei") == "pump 1, Bäckerei"
    assert printable("a\nb\x1b[2J\u202e\u2028") == "a\\nb\\x1b[2J\\u202e\\u2028"


def begun(headers: dict[str, str]) -> CallRecord:
    return begin_record(lambda name: headers.get(name, ""))


def lines_of(record: CallRecord, *ends: tuple[str, str], which: Any = "all", level: str = "info") -> list[dict[str, Any]]:
    lines: list[str] = []
    log = CallLog(lines.append, renderer("json", colors=False), which, level)
    for code, message in ends:
        log.ended(record, "DetectAnomaly", "pump", code, 0.0012345678, message)
    return list(map(json.loads, lines))


def test_the_line_of_a_call_says_who_asked_for_what_and_what_came_of_it() -> None:
    record = begun({"x-request-id": "abc-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    record.token, record.version, record.items, record.failed_items, record.anomalies = "plant-3", 2, 4, 1, 0
    record.note_source("pump-1\nlevel=error")
    record.note_source("pump-1\nlevel=error")
    (line,) = lines_of(record, ("OK", ""))
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "call",
        "request_id": "abc-1",
        "rpc": "DetectAnomaly",
        "model": "pump",
        "code": "OK",
        "duration_s": 0.001235,
        "trace_id": "a" * 32,
        "token": "plant-3",
        "version": 2,
        "sources": ["pump-1\\nlevel=error"],
        "items": 4,
        "failed_items": 1,
        "anomalies": 0,
    }


def test_a_line_is_bounded_whatever_a_client_sends() -> None:
    record = CallRecord("1")
    for number in range(100):
        record.note_source(f"{number}" + "\u202e" * 10_000)
    (line,) = lines_of(record, ("NOT_FOUND", "\u202e" * 10_000))
    assert len(line["sources"]) == 4
    assert len(json.dumps(line)) < 4096  # a pipe takes so much at once


@pytest.mark.parametrize("sent", ["", "a" * 65, "a b", "a\n", "ä", '"', "../x"])
def test_a_request_id_that_is_not_plain_is_replaced(sent: str) -> None:
    made = begun({"x-request-id": sent}).request_id
    assert made != sent
    assert len(made) == 32
    assert begun({}).request_id not in ("", made)


@pytest.mark.parametrize(
    "sent",
    ["00-1-2-01", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01", "x" * 9000],
)
def test_a_traceparent_that_w3c_forbids_is_not_one(sent: str) -> None:
    record = begun({"traceparent": sent})
    assert (record.traceparent, record.trace_id) == ("", "")


def test_which_calls_have_lines_and_how_severe_they_are() -> None:
    ends = [("OK", ""), ("CANCELLED", ""), ("INVALID_ARGUMENT", "no"), ("INTERNAL", "no")]
    assert [line["level"] for line in lines_of(CallRecord("1"), *ends)] == ["info", "info", "warning", "error"]
    assert [line["code"] for line in lines_of(CallRecord("1"), *ends, which="failed")] == [code for code, _ in ends[1:]]
    assert {line["code"] for line in lines_of(CallRecord("1", failed_items=1), *ends, which="failed")} >= {"OK"}
    assert lines_of(CallRecord("1"), *ends, which="none") == []
    assert [line["code"] for line in lines_of(CallRecord("1"), *ends, level="error")] == ["INTERNAL"]


def close_all(writer: LogWriter, file: int) -> None:
    writer.close(30)
    os.close(file)


def test_a_log_that_nobody_reads_holds_nobody_up_and_says_how_much_was_lost() -> None:
    reading, writing = os.pipe()
    dropped: list[int] = []
    writer = LogWriter(writing, dropped.append, lambda lines: f"dropped {lines}", most=100)
    for number in range(5000):  # a pipe holds 64 KiB
        writer.put(f"{number:0>100}")
    assert sum(dropped) > 0
    closing = threading.Thread(target=close_all, args=(writer, writing))
    closing.start()
    with os.fdopen(reading) as log:
        lines = log.read().splitlines()
    closing.join()
    notices = [int(line.split()[1]) for line in lines if line.startswith("dropped")]
    numbers = [int(line) for line in lines if not line.startswith("dropped")]
    assert numbers == sorted(numbers)
    assert len(numbers) + sum(notices) == 5000
    assert sum(notices) == sum(dropped)


def test_a_log_whose_reader_is_gone_costs_its_lines_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    dropped: list[int] = []
    writer = LogWriter(writing, dropped.append, lambda lines: f"dropped {lines}")
    writer.put("a line")
    writer.close(30)
    os.close(writing)
    assert dropped == [1]


def test_closing_waits_for_what_waits_but_not_for_a_reader_that_never_reads() -> None:
    reading, writing = os.pipe()
    writer = LogWriter(writing, lambda lines: None, str)
    for _ in range(1000):
        writer.put("x" * 100)
    writer.close(0.1)  # returns
    assert os.read(reading, 10) == b"x" * 10
    os.close(reading)
