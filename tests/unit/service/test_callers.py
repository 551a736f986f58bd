"""callers.py: what a token may do, how often, and until when."""

from __future__ import annotations

import time

import pytest

from avizor_inference.errors import NotAllowed, RateExceeded, Unauthenticated
from avizor_service.callers import Caller, Rate


def test_a_caller_may_ask_for_its_models_alone_and_is_not_told_of_others() -> None:
    caller = Caller("ali", frozenset({"lenet"}))
    caller.require("lenet")
    with pytest.raises(NotAllowed, match=r"^this token may not call that model; ListModels names those that it may$"):
        caller.require("ae")
    Caller("baba").require("ae")


def test_a_rate_lets_a_second_worth_in_and_then_so_many_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    refused: list[int] = []
    rate = Rate(4, lambda: refused.append(1))
    for _ in range(4):
        rate.take()
    with pytest.raises(
        RateExceeded, match=r"^this token may make 4 calls a second, and they are used up; try again later$"
    ) as error:
        rate.take()
    assert error.value.retry_after_s == pytest.approx(0.25)
    now += 0.25
    rate.take()
    with pytest.raises(RateExceeded):
        rate.take()
    now += 3600  # rest is not saved up beyond a second's worth
    for _ in range(4):
        rate.take()
    with pytest.raises(RateExceeded):
        rate.take()
    assert len(refused) == 3


def test_a_rate_below_one_a_second_lets_one_call_in_and_says_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    rate = Rate(0.1)
    rate.take()
    with pytest.raises(RateExceeded) as error:
        rate.take()
    assert error.value.retry_after_s == pytest.approx(10)


def test_a_revoked_caller_is_not_let_in_and_uses_up_nothing() -> None:
    caller = Caller("ali", rate=Rate(1))
    caller.revoked.set()
    with pytest.raises(Unauthenticated):
        caller.admit()
    caller.revoked.clear()
    caller.admit()
