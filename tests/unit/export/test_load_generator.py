"""load_generator.py: what is measured, and that an interruption ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from avizor_export.tuning import load_generator
from avizor_export.tuning.load_generator import run_load


class _StoppedAtTheSecond(ThreadPoolExecutor):
    """A signal comes while the second client is started."""

    def submit(self, call: Callable[..., object], /, *args: object, **kwargs: object) -> Future[object]:  # type: ignore[override]
        if self._threads:
            raise SystemExit(143)
        return super().submit(call, *args, **kwargs)


def test_a_command_that_is_stopped_while_its_clients_start_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_generator, "ThreadPoolExecutor", _StoppedAtTheSecond)
    codes = list[object]()

    def run() -> None:
        try:
            run_load(lambda: None, clients=2, rows=1, seconds=0.01)
        except SystemExit as stopped:
            codes.append(stopped.code)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(10)
    assert codes == [143]


def test_each_client_calls_at_least_once_and_the_first_error_is_raised() -> None:
    assert run_load(lambda: None, clients=3, rows=2, seconds=0.0).calls >= 3
    with pytest.raises(ZeroDivisionError):
        run_load(lambda: 1 / 0, clients=3, rows=1, seconds=30)
