"""Messages and media files that are damaged at random cost a gateway nothing: no crash, no INTERNAL, no traceback, no memory.

Every RPC of the contract is called. The damage is the same in every run.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from integration.gateway import Gateway, gateway
from support.media import memory_mib
from support.mutated_calls import mutated_calls, mutated_media
from support.mutations import is_parsed
from support.valid_calls import Rpc, export_pumps, rpcs, valid_calls

# What a bad request or item may end with. UNIMPLEMENTED is allowed where the valid call ends with it.
CODES = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}
AT_ONCE = 8
ROUND = 100  # calls between two looks at whether valid calls are answered as before
GROWTH_MIB = 32.0


@dataclass
class Client:
    """Sends calls, and notes how they and their items ended."""

    channel: grpc.Channel
    codes: Counter[str] = field(default_factory=Counter)
    item_codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def send(self, calls: Sequence[tuple[Rpc, list[bytes]]], allowed: Callable[[Rpc], set[str]]) -> None:
        """Send calls, several at a time."""
        for start in range(0, len(calls), AT_ONCE):
            some = calls[start : start + AT_ONCE]
            for (rpc, messages), started in zip(some, [rpc.start(self.channel, each) for rpc, each in some], strict=True):
                code, answers = rpc.finish(started)
                self.codes[code] += 1
                if code not in allowed(rpc):
                    self.wrong.append(f"{rpc.name} {code} for {[message[:300] for message in messages]}")
                for status in (status for answer in answers for status in item_errors(answer)):
                    name = next(each.name for each in grpc.StatusCode if each.value[0] == status.code)
                    self.item_codes[name] += 1
                    if name not in CODES:
                        self.wrong.append(f"{rpc.name} item {name}: {status.message} for {[each[:300] for each in messages]}")


def item_errors(answer: Message) -> Iterator[Status]:
    """Yield the status of each item of an answer that has one; of those without an error it is OK."""
    if "items" in answer.DESCRIPTOR.fields_by_name:
        yield from (item.error for item in answer.items)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def repository(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of all suites, and one that takes signals."""
    folder = tmp_path_factory.mktemp("mutated") / "models"
    shutil.copytree(models, folder)
    export_pumps(folder)
    return folder


@dataclass(frozen=True)
class Victim:
    """A gateway, and how it answered valid calls before anything else was sent."""

    running: Gateway
    log: Path
    client: Client
    before: list[tuple[Rpc, list[bytes], str, list[Message]]]

    def allowed(self, rpc: Rpc) -> set[str]:
        """Return the codes that a call of an RPC may end with."""
        is_there = any(each is rpc and code != "UNIMPLEMENTED" for each, _, code, _ in self.before)
        return CODES if is_there else CODES | {"UNIMPLEMENTED"}

    def check(self) -> None:
        """It runs, answers valid calls as before, and has nothing to say of the others."""
        assert not self.client.wrong, "\n".join(self.client.wrong[:10])
        assert self.running.process.poll() is None
        for rpc, messages, code, answers in self.before:
            assert rpc.finish(rpc.start(self.client.channel, messages)) == (code, answers), rpc.name
        log = self.log.read_text()
        assert "Traceback" not in log
        assert all(line.startswith("{") for line in log.splitlines()), "a library has written into it"
        assert {*re.findall(r'"level":"(\w+)"', log)} <= {"info", "warning"}


@pytest.fixture
def victim(repository: Path, tmp_path: Path) -> Iterator[Victim]:
    log = tmp_path / "log"
    with (
        gateway(repository, "--alpha", 0.05, "--max-windows", 20, "--max-explanations", AT_ONCE, log=log) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        valid = [(rpc, [each.SerializeToString() for each in call]) for rpc in rpcs() for call in valid_calls(rpc)]
        for rpc, messages in valid:  # the first verdict chooses the calibration, which GetModel then returns
            rpc.finish(rpc.start(channel, messages))
        before = [(rpc, messages, *rpc.finish(rpc.start(channel, messages))) for rpc, messages in valid]
        found = Victim(running, log, Client(channel), before)
        assert {code for *_, code, _ in before} <= CODES | {"UNIMPLEMENTED"}
        assert sum(code == "OK" for *_, code, _ in before) > 10
        yield found
        assert running.stop() == 0


def send(victim: Victim, calls: Sequence[tuple[Rpc, list[bytes]]]) -> None:
    """Send calls; look again and again whether valid ones are answered as before, and whether memory is flat."""
    pid, warm = victim.running.process.pid, 0.0
    for start in range(0, len(calls), ROUND):
        victim.client.send(calls[start : start + ROUND], victim.allowed)
        victim.check()
        if start <= len(calls) / 3:
            warm = memory_mib(pid)
    assert memory_mib(pid) < warm + GROWTH_MIB


def send_mutated_calls(victim: Victim, count: int) -> None:
    calls = list(islice(mutated_calls(), count))
    parsed = sum(all(is_parsed(rpc.request, message) for message in messages) for rpc, messages in calls) / count
    assert 0.4 < parsed < 0.6
    send(victim, calls)
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= set(victim.client.codes)


def send_mutated_media(victim: Victim, count: int) -> None:
    send(victim, list(islice(mutated_media(), count)))
    assert victim.client.codes == {"OK": count}
    assert victim.client.item_codes["INVALID_ARGUMENT"] > count / 2


def test_some_hundred_mutated_messages_cost_a_gateway_nothing(victim: Victim) -> None:
    send_mutated_calls(victim, 300)


def test_some_mutated_files_of_every_format_cost_a_gateway_nothing(victim: Victim) -> None:
    send_mutated_media(victim, 100)


@pytest.mark.slow
def test_ten_thousand_mutated_messages_cost_a_gateway_nothing(victim: Victim) -> None:
    send_mutated_calls(victim, 10_000)


@pytest.mark.slow
def test_a_thousand_mutated_files_cost_a_gateway_nothing(victim: Victim) -> None:
    send_mutated_media(victim, 1_000)
