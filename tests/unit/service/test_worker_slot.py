"""A place among the workers stays in order whatever its process does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from avizor_inference.errors import WorkersFailed
from avizor_service.settings import Settings
from avizor_service.whole import Addresses
from avizor_service.workers import slot
from avizor_service.workers.shares import Place


@pytest.mark.parametrize(
    ("script", "message"),
    [
        pytest.param("exec 0<&-; sleep 60", "SIGKILL", id="hangs at its end"),
        pytest.param("kill -40 $$", "signal 40", id="ended by a signal without a name"),
        pytest.param(None, "cannot be started: no such file or directory", id="cannot be started"),
    ],
)
def test_a_process_that_is_no_worker_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, message: str
) -> None:
    program = tmp_path / "python"
    if script:
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr(slot, "_EXIT_S", 0.2)
    ended: list[bool] = []
    place = Place(1, 2, tmp_path, Settings(models=tmp_path), "")
    with pytest.raises(WorkersFailed, match=message):
        asyncio.run(slot.Slot(place, lambda: None, ended.append).fill())
    assert ended == ([False] if script else [])


READY = """echo '{"ready": {"grpc": "a:1", "metrics": "", "http": ""}}' >&0\n"""
ANSWERS = r"""while read -r line; do
  [[ $line =~ '"number": '([0-9]+) ]] && echo "{\"number\": ${BASH_REMATCH[1]}, \"answer\": true}" >&0 && echo "$line" >> %s
done
"""


def asked_often(
    folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, ended: list[bool], seconds: float = 0.5
) -> slot.Slot:
    """A place for a worker that is this script. It is asked after so many seconds, and has as long to answer."""
    program = folder / "python"
    program.write_text(f"#!/bin/bash\n{READY}{script}")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    for name in ("_ASK_S", "_SILENT_S", "_ONCE_MORE_S"):
        monkeypatch.setattr(slot, name, seconds)
    monkeypatch.setattr(slot, "_FIRST_PAUSE_S", 0.0)
    return slot.Slot(Place(1, 2, folder, Settings(models=folder), ""), lambda: None, ended.append)


def test_a_worker_that_answers_no_more_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    place = asked_often(tmp_path, monkeypatch, "exec sleep 600\n", ended, seconds=0.1)
    with pytest.raises(WorkersFailed, match=r"worker 1 ended 5 times, each within 5 s: it did not answer for 0\.2 s"):
        asyncio.run(asyncio.wait_for(place.fill(), 60))
    assert ended == [False] * 5


def test_a_worker_that_answers_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    asked = tmp_path / "asked"
    asked.touch()
    place = asked_often(tmp_path, monkeypatch, ANSWERS % asked, ended)

    async def until_asked() -> None:
        filling = asyncio.create_task(place.fill())
        while asked.read_text().count("alive") < 3:
            assert not filling.done()
            await asyncio.sleep(0.1)
        assert ended == []
        filling.cancel()
        await asyncio.wait([filling])

    asyncio.run(asyncio.wait_for(until_asked(), 60))


def test_a_worker_that_is_killed_while_it_says_something_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a message has come: the gauges of many models are more than a socket takes at once."""
    ended: list[bool] = []
    place = asked_often(tmp_path, monkeypatch, """printf '{"number": 1, "answer": [["avizor_' >&0\nkill -KILL $$\n""", ended)
    with pytest.raises(WorkersFailed, match="worker 1 ended 5 times, each within 5 s: SIGKILL"):
        asyncio.run(place.fill())
    assert ended == [False] * 5


def test_a_worker_that_ends_at_each_start_is_tried_again_for_days_while_others_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/bash\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr(slot, "_FIRST_PAUSE_S", 0.0)
    ended: list[bool] = []
    place = slot.Slot(Place(1, 2, tmp_path, Settings(models=tmp_path), ""), lambda: None, ended.append, lambda: len(ended) < 12)
    place.addresses = Addresses("", "")  # an earlier one has served
    with pytest.raises(WorkersFailed, match="worker 1 ended 12 times, each within 5 s: exit code 1"):
        asyncio.run(place.fill())
    assert ended == [False] * 12


def test_the_pause_between_two_starts_doubles_up_to_a_limit_whatever_the_number_of_failures() -> None:
    assert [slot._pause_s(failures) for failures in (0, 1, 2, 3, 6, 7, 5000)] == [0, 0.2, 0.4, 0.8, 6.4, 10, 10]
