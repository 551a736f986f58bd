"""model_loads.py: what becomes of calls at several times the capacity of a model, in simulated time."""

from __future__ import annotations

import contextlib
import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from avizor_inference.errors import GatewayFull
from avizor_service.metrics import Metrics
from avizor_service.model_loads import ModelLoads

WARM_UP_S, END_S = 10.0, 60.0


@dataclass
class Outcome:
    """What became of the calls that ended after the warm-up."""

    took_s: list[float] = field(default_factory=list)
    refused: int = 0
    late: int = 0

    @property
    def goodput(self) -> float:
        return len(self.took_s) / (END_S - WARM_UP_S)

    def p99_s(self) -> float:
        return sorted(self.took_s)[int(0.99 * len(self.took_s))]


class Simulation:
    """A model that runs up to `batch` waiting rows together, in `fixed_s` and `row_s` for each; the times vary by a third."""

    def __init__(self, batch: int, fixed_s: float, row_s: float) -> None:
        self.batch, self.fixed_s, self.row_s = batch, fixed_s, row_s
        self.now = 0.0

    @property
    def capacity(self) -> float:
        return self.batch / (self.fixed_s + self.batch * self.row_s)

    def run(self, calls_per_s: float, max_wait_s: float, deadline_s: float) -> Outcome:
        loads = ModelLoads(max_wait_s, Metrics(), lambda: self.now)
        draw, outcome = random.Random(1), Outcome()
        waiting: deque[tuple[float, contextlib.ExitStack]] = deque()
        running: list[tuple[float, contextlib.ExitStack]] = []
        arrival, done = 0.0, float("inf")
        while self.now < END_S:
            self.now = min(arrival, done)
            if self.now == arrival:
                arrival += draw.expovariate(calls_per_s)
                try:
                    loads.admit("m", deadline_s)
                    stack = contextlib.ExitStack()
                    stack.enter_context(loads.of("m").work(1))
                    waiting.append((self.now, stack))
                except GatewayFull:
                    outcome.refused += self.now > WARM_UP_S
            else:
                for begin, stack in running:
                    stack.close()
                    self._count(outcome, self.now - begin, deadline_s)
                running, done = [], float("inf")
            if waiting and not running:
                running = [waiting.popleft() for _ in range(min(self.batch, len(waiting)))]
                done = self.now + (self.fixed_s + len(running) * self.row_s) * draw.uniform(0.67, 1.33)
        return outcome

    def _count(self, outcome: Outcome, took_s: float, deadline_s: float) -> None:
        if self.now < WARM_UP_S:
            return
        if took_s > deadline_s:
            outcome.late += 1
        else:
            outcome.took_s.append(took_s)


@pytest.mark.parametrize("model", [(1, 0.0, 0.01), (8, 0.0, 0.01), (8, 0.06, 0.0025), (32, 0.2, 0.005)])
@pytest.mark.parametrize("deadline_s", [1.0, 5.0, 60.0])
def test_calls_beyond_the_capacity_cost_those_that_are_let_in_nothing(
    model: tuple[int, float, float], deadline_s: float
) -> None:
    simulation = Simulation(*model)
    goodput = {}
    for factor in (0.5, 1, 4, 8):
        simulation.now = 0.0
        outcome = simulation.run(factor * simulation.capacity, 2.0, deadline_s)
        goodput[factor] = outcome.goodput
        assert outcome.late <= 0.05 * len(outcome.took_s)
        assert outcome.p99_s() < 3.0
        if factor == 0.5:
            assert outcome.refused <= 0.03 * len(outcome.took_s)
    assert goodput[4] > 0.9 * max(goodput.values())
    assert goodput[8] > 0.9 * max(goodput.values())
    assert goodput[4] > 0.9 * simulation.capacity
