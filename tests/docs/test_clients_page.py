"""docs/clients.md: its Python runs as it is, against a real gateway, and its tables are whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.gateway import AVIZOR, gateway, normal, odd
from support.environment import ROOT

import avizor_client

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def address(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A gateway with the models that the page names, in a folder with its files."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models / "normal", "served/fan")
    for file in ("config.pbtxt", "1/manifest.json"):
        path = Path("served/fan", file)
        path.write_text(path.read_text().replace('"normal"', '"fan"'))
    shutil.copytree(models / "transfers", "served/transfers")
    Path("rows.csv").write_text("amount,hour,country,bank\n70,12,ES,north\n")
    Path("monday.wav").write_bytes(normal())
    Path("tuesday.wav").write_bytes(odd())
    Path("torn.wav").write_bytes(b"no sound")
    with gateway(Path("served"), "--alpha", 0.05) as running:
        yield running.address


def test_the_examples_run(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(BLOCKS) == 3
    for block in BLOCKS:
        assert block.count("127.0.0.1:50051") == 1
        exec(block.replace("127.0.0.1:50051", address), {})
    printed = capsys.readouterr().out
    listed = r"fan reconstruct audio \(\)\ntransfers reconstruct table \(\)\n"
    judged = r"[01]\.\d+ False 3\n0\.\d+ True 3\nnot judged: not an audio file"
    assert re.match(listed + judged, printed), printed
    assert re.search(r"an alarm begins after \d+ flagged stretches\n", printed)
    assert re.search(r"^\d+ windows$", printed, re.MULTILINE)


def test_the_commands_run(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVIZOR_CALL_TARGET", address)
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    path = f"{AVIZOR.parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-euc", block], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    fan, transfers, first, second, *rest = ended.stdout.splitlines()[1:]
    assert (fan.split()[0], transfers.split()[0]) == ("fan", "transfers")
    assert (first.split()[:2], second.split()[:2]) == (["monday.wav", "normal"], ["tuesday.wav", "ANOMALY"])
    assert [json.loads(line)["source"] for line in rest[:2]] == ["mon", "tues"]
    assert rest[2].startswith("rows.csv, row 0 ")
    assert rest[3].split() == ["monday.wav", "made/monday.wav.npy"]
    assert Path("made/monday.wav.npy").is_file()
    assert rest[-1].split()[:2] == ["-", "normal"]


def test_the_table_of_errors_has_every_kind() -> None:
    table = PAGE.partition("| error | what to do |")[2].partition("\n\n")[0]
    kinds = {
        kind.__name__
        for kind in vars(avizor_client).values()
        if isinstance(kind, type)
        and issubclass(kind, (avizor_client.CallFailed, avizor_client.InputError, avizor_client.BadAnswer))
    }
    assert kinds - {"CallFailed"} == set(re.findall(r"`([A-Z]\w+)`", table))


def test_the_table_of_methods_has_every_method() -> None:
    table = PAGE.partition("| method | answers for each item |")[2].partition("\n\n")[0]
    methods = {name for name in vars(avizor_client.Client) if not name.startswith("_")} - {"close"}
    named = {name for cell in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert named == methods == {name for name in vars(avizor_client.AsyncClient) if not name.startswith("_")} - {"close"}
