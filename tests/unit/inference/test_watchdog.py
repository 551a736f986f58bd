"""watchdog.py: each function is called once its time has come, by one thread."""

from __future__ import annotations

import queue
import threading
import time
import weakref

import pytest

from avizor_inference.engines.watchdog import Watchdog


def test_functions_are_called_by_their_times_whatever_the_order_they_came_in() -> None:
    watchdog, called = Watchdog("test"), queue.Queue[str]()
    now = time.monotonic()
    for name, after in (("third", 0.15), ("first", -1.0), ("second", 0.05), ("never", 3600.0)):
        watchdog.watch(name, now + after, lambda name=name: called.put(name))  # type: ignore[misc]
    assert [called.get(timeout=30) for _ in range(3)] == ["first", "second", "third"]
    watchdog.close()
    assert called.empty()


def test_a_nearer_deadline_wakes_it_up() -> None:
    watchdog, called = Watchdog("test"), threading.Event()
    watchdog.watch("far", time.monotonic() + 3600, pytest.fail)
    time.sleep(0.05)  # it waits for that one now
    watchdog.watch("near", time.monotonic() + 0.01, called.set)
    assert called.wait(30)
    watchdog.close()


def test_what_was_called_is_not_kept_until_the_next_deadline() -> None:
    class Holder:
        called = threading.Event()

        def expire(self) -> None:
            self.called.set()

    watchdog, holder = Watchdog("test"), Holder()
    kept = weakref.ref(holder)
    watchdog.watch("one", time.monotonic(), holder.expire)
    del holder
    assert Holder.called.wait(30)
    end = time.monotonic() + 60
    while kept() is not None and time.monotonic() < end:  # the thread is about to wait
        time.sleep(0.01)
    assert kept() is None
    watchdog.close()


def test_what_is_forgotten_is_not_called() -> None:
    watchdog, called = Watchdog("test"), queue.Queue[str]()
    now = time.monotonic()
    watchdog.watch("forgotten", now + 0.05, lambda: called.put("forgotten"))
    watchdog.watch("kept", now + 0.1, lambda: called.put("kept"))
    watchdog.forget("forgotten")
    watchdog.forget("unknown")
    assert called.get(timeout=30) == "kept"
    watchdog.close()
    assert called.empty()


def test_it_has_one_thread_from_the_first_deadline_until_it_is_closed() -> None:
    before = threading.active_count()
    watchdog = Watchdog("test")
    assert threading.active_count() == before
    for key in range(5):
        watchdog.watch(key, time.monotonic() + 3600, pytest.fail)
    assert threading.active_count() == before + 1
    watchdog.close()
    assert threading.active_count() == before
    watchdog.watch("late", time.monotonic(), pytest.fail)
    assert threading.active_count() == before


def test_one_that_never_had_a_deadline_can_be_closed() -> None:
    Watchdog("test").close()
