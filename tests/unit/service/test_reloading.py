"""reloading.py: each part is read again when asked; one that fails changes nothing for the others, and is named."""

from __future__ import annotations

import asyncio
import logging

import pytest

from avizor_inference.errors import TokenFileError
from avizor_service.metrics import Metrics
from avizor_service.reloading import Reloading


class Part:
    """Notes how it was called, and fails as long as `error` is set."""

    def __init__(self) -> None:
        self.calls: list[bool] = []
        self.error: Exception | None = None

    def __call__(self, asked: bool) -> None:
        self.calls.append(asked)
        if self.error:
            raise self.error


def run(reloading: Reloading, steps: object) -> None:
    async def main() -> None:
        task = asyncio.create_task(reloading.work())
        await asyncio.sleep(0)
        await steps()  # type: ignore[operator]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 30))


async def until(reached: object) -> None:
    while not reached():  # type: ignore[operator]
        await asyncio.sleep(0.001)


def test_what_fails_is_named_and_counted_and_the_others_are_read(caplog: pytest.LogCaptureFixture) -> None:
    metrics, bad, good = Metrics(), Part(), Part()
    reloading = Reloading(metrics)
    reloading.add("tokens", bad)
    reloading.add("models", good)
    bad.error = TokenFileError("line 3 is not a token")

    def value(name: str, part: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"part": part})

    async def steps() -> None:
        reloading.ask()
        await until(lambda: value("avizor_reload_ok", "tokens") == 0 and good.calls == [True])
        bad.error = None
        reloading.ask()
        await until(lambda: value("avizor_reload_ok", "tokens") == 1)

    with caplog.at_level(logging.INFO, "avizor_service"):
        run(reloading, steps)
    assert bad.calls == [True, True]
    assert value("avizor_reload_failures_total", "tokens") == 1
    assert value("avizor_reload_failures_total", "models") == 0
    assert "tokens: not read again, what was in use stays: line 3 is not a token" in caplog.text


def test_an_error_that_nobody_expected_leaves_its_traceback_and_the_work_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    part = Part()
    part.error = ZeroDivisionError("oh")
    reloading = Reloading(Metrics())
    reloading.add("models", part)

    async def steps() -> None:
        for count in (1, 2):
            reloading.ask()
            await until(lambda count=count: len(part.calls) == count)

    run(reloading, steps)
    assert "ZeroDivisionError: oh" in caplog.text


def test_a_part_with_a_time_is_looked_at_without_being_asked() -> None:
    part, quiet = Part(), Part()
    reloading = Reloading(Metrics())
    reloading.add("models", part, every_s=0.01)
    reloading.add("tokens", quiet)

    async def steps() -> None:
        await until(lambda: len(part.calls) >= 3)

    run(reloading, steps)
    assert set(part.calls) == {False}
    assert quiet.calls == []
