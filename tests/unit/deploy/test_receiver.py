"""The webhook prints what whoever is called needs, and nothing that a terminal would obey."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
from support.environment import ROOT

ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "AvizorAnomalyBudgetBurn", "severity": "page", "model": "fans", "source": "hall-3"},
    "annotations": {
        "summary": "hall-3 looks abnormal to fans",
        "description": "Model fans flags 72 of 120 items. First look at some of them.",
        "runbook_url": "docs/operations.md#avizoranomalybudgetburn",
    },
    "generatorURL": "http://localhost:9090/graph?g0.expr=up",
}


@pytest.fixture(scope="module")
def receiver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("receiver", ROOT / "deploy" / "alerts" / "receiver.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def address(receiver: ModuleType) -> Iterator[str]:
    """Where a receiver listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), receiver.Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def post(address: str, *alerts: dict[str, Any]) -> None:
    body = json.dumps({"alerts": alerts}).encode()
    assert urllib.request.urlopen(urllib.request.Request(address, data=body), timeout=10).status == 200


def test_an_alert_is_printed_with_its_numbers_its_first_step_and_its_links(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    post(address, ALERT)
    first, *below = capsys.readouterr().out.splitlines()
    assert first.endswith("FIRING   page   AvizorAnomalyBudgetBurn model=fans source=hall-3: hall-3 looks abnormal to fans")
    assert below == [
        "    Model fans flags 72 of 120 items. First look at some of them.",
        "    runbook: docs/operations.md#avizoranomalybudgetburn",
        "    graph: http://localhost:9090/graph?g0.expr=up",
    ]


def test_one_that_is_resolved_is_a_line(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    post(address, ALERT | {"status": "resolved"})
    (line,) = capsys.readouterr().out.splitlines()
    assert "RESOLVED page   AvizorAnomalyBudgetBurn" in line


def test_names_of_clients_do_not_reach_the_terminal_as_they_are(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = "\x1b[2J\x9b31m\r\n2026 FIRING page Fake: x\u202e\u2028\ud800 severity=page"
    post(
        address,
        ALERT | {"labels": ALERT["labels"] | {"source": source}, "annotations": {"summary": f"{source} looks abnormal"}},
    )
    printed = capsys.readouterr().out
    assert printed.count("\n") == 2  # the line and the graph
    assert all(char.isprintable() for char in printed.replace("\n", ""))
    assert r'source="\u001b[2J\x9b31m\r\n2026 FIRING page Fake: x\u202e\u2028\ud800 severity=page"' in printed


def test_a_text_of_any_length_is_printed_in_a_bounded_one(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    post(address, ALERT | {"annotations": {"summary": "x" * 100_000}})
    assert len(capsys.readouterr().out) < 3000


def test_what_was_received_can_be_asked_for(address: str) -> None:
    post(address, ALERT | {"labels": {"alertname": "Asked"}})
    last = json.load(urllib.request.urlopen(f"{address}/alerts", timeout=10))[-1]
    assert last["labels"] == {"alertname": "Asked"}
    assert last["received"]
