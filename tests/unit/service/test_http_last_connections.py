"""A listener that takes no more connections keeps those that have begun."""

from __future__ import annotations

import contextlib
import socket
import sys

import pytest

from avizor_service.http.last_connections import has_waiting, take_no_more

SO_LOCK_FILTER = 44  # Linux: no filter can be attached from then on, as where a process lacks the right


@pytest.mark.skipif(sys.platform != "linux", reason="how full a queue may be is a matter of the system")
@pytest.mark.parametrize("is_refused", [False, True], ids=["a filter", "no right to a filter"])
def test_who_comes_later_waits_and_who_has_begun_is_taken(is_refused: bool) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        if is_refused:
            listener.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)

        def connects() -> bool:
            with contextlib.suppress(TimeoutError):
                stack.enter_context(socket.create_connection(listener.getsockname(), timeout=0.5))
                return True
            return False

        assert all(connects() for _ in range(3))
        take_no_more(listener)
        assert not connects()
        for _ in range(3):
            assert has_waiting(listener)
            stack.enter_context(listener.accept()[0])
        assert not has_waiting(listener)
        assert connects() is is_refused  # one gets into the queue, where it is only shorter
        assert not connects()
