"""Let light requests that come while the event loop is busy share a run on it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from avizor_inference.arrays import Array
from avizor_inference.engines.base import Engine, InferRequest

Outputs = dict[str, Array]
_Key = tuple[str, int | None, tuple[str, ...]]

# Turns of the event loop without another request, after which those that wait run. In one turn the server hands over about one
# call, which needs a few turns more until its message was received and its request is here.
_TURNS = 8

# Requests of a run that make it worth while for the next ones to wait, and light requests that run alone until one waits again
# to see whether others come.
_COMPANY, _ALONE = 3, 32

# A request that has less time left, in seconds, waits for nobody.
_HASTY_S = 0.1

# Groups whose last runs were shared, most. Nobody may ask again for a version that was replaced, or for outputs in this order.
_GROUPS = 64


class _Waiting(NamedTuple):
    """Holds a request that waits since `came`, by time.monotonic(), and the future of its answer."""

    request: InferRequest
    came: float
    waiter: asyncio.Future[Outputs | None]


@dataclass
class _Group:
    """Holds the requests of one model, version and set of outputs that wait for others, and their rows.

    company: how many share a run, lately. turns: of the loop, that they still wait if nobody comes; counted while `turning`.
    """

    key: _Key
    waiting: list[_Waiting] = field(default_factory=list)
    rows: int = 0
    company: int = 0
    turns: int = 0
    turning: bool = False


class LightRuns:
    """Runs light requests on the event loop that creates it: alone, or together while many come.

    Requests that come one after the other run one after the other, with all that a call needs between two runs. That pushes the
    model out of the processor's caches, so a run then takes two and three times as long as in a row, and one for several
    requests hardly longer than one for a single one (decision 30).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._loop = engine, asyncio.get_running_loop()
        self._groups: dict[_Key, _Group] = {}  # only of those that wait, or whose last runs were shared; oldest first
        self._alone = 0

    async def run(self, request: InferRequest, max_rows: int) -> Outputs | None:
        """Return the answer to a request with one input; None if it is not light, or failed: it has to be submitted.

        max_rows: of a run. A caller that is cancelled while its request waits costs the others nothing, and is counted.
        """
        if (group := self._group_for(request)) is None:
            return self._alone_now(request)
        rows = _rows(request)
        if group.rows + rows > max_rows:
            self._run(group)
        waiter: asyncio.Future[Outputs | None] = self._loop.create_future()
        came = time.monotonic()
        group.waiting.append(_Waiting(request, came, waiter))
        group.rows += rows
        group.turns = _TURNS
        if group.rows >= max_rows:
            self._run(group)
        elif not group.turning:
            group.turning = True
            self._loop.call_soon(self._turn, group)
        try:
            answer = await waiter
        except asyncio.CancelledError:
            if waiter.cancelled() or waiter.result() is None:  # else its run has been counted
                self._engine.cancelled_light(request, time.monotonic() - came)
            raise
        return answer or self._alone_now(request, time.monotonic() - came)

    def _group_for(self, request: InferRequest) -> _Group | None:
        """Return the group that a request waits in, None if it does not wait."""
        if request.timeout_s is not None and request.timeout_s < _HASTY_S:
            return None
        key = (request.model, request.version, tuple(request.outputs))
        if group := self._groups.get(key):
            return group
        if self._alone < _ALONE or not self._engine.shares_light_runs(request.model, request.version):
            return None
        self._alone = 0
        if len(self._groups) >= _GROUPS:
            del self._groups[next(iter(self._groups))]  # what waits in it runs all the same
        self._groups[key] = _Group(key)
        return self._groups[key]

    def _alone_now(self, request: InferRequest, waited_s: float = 0.0) -> Outputs | None:
        answers = self._engine.infer_light([request], waited_s)
        if answers is None:
            return None
        self._alone += 1
        return answers[0]

    def _turn(self, group: _Group) -> None:
        """Let one more turn of the loop pass, or run what waits."""
        group.turning = bool(group.waiting and group.turns)  # else it has run, because it was full, or runs now
        if group.turning:
            group.turns -= 1
            self._loop.call_soon(self._turn, group)
        elif group.waiting:
            self._run(group)

    def _run(self, group: _Group) -> None:
        """Run what waits in a group. If that fails, each request is told so, and runs alone.

        One bad request must not end the sharing of many that are good: it halves the company, and the next ones try again.
        """
        waiting = [one for one in group.waiting if not one.waiter.done()]  # else its caller was cancelled
        group.waiting, group.rows = [], 0
        answers = self._answers(waiting) if waiting else None
        group.company = max(len(waiting) if answers else 0, group.company // 2)
        if group.company < _COMPANY:
            self._groups.pop(group.key, None)
        for number, one in enumerate(waiting):
            one.waiter.set_result(answers[number] if answers else None)

    def _answers(self, waiting: list[_Waiting]) -> list[Outputs] | None:
        now = time.monotonic()
        return self._engine.infer_light([one.request for one in waiting], sum(now - one.came for one in waiting))


def _rows(request: InferRequest) -> int:
    (array,) = request.inputs.values()
    return len(array)
