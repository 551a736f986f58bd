"""access.py: which addresses other machines reach, and what is asked of callers there."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from avizor_inference.errors import SettingsError
from avizor_service.access import reached_by_others, require_known_callers
from avizor_service.settings import Settings

HERE = ("127.0.0.1", "127.8.9.10", "::1", "localhost", "unix:/run/avizor.sock")
ELSEWHERE = ("0.0.0.0", "::", "10.1.2.3", "::ffff:10.1.2.3", "fe80::1", "", "no-such-host.invalid")
SETTINGS = Settings(models=Path("models"))


def test_loopback_and_unix_sockets_are_reached_from_this_machine_alone() -> None:
    assert [host for host in (*HERE, *ELSEWHERE) if not reached_by_others(host)] == list(HERE)


@pytest.mark.parametrize("host", HERE)
def test_anyone_may_call_where_this_machine_alone_can(host: str) -> None:
    require_known_callers(replace(SETTINGS, host=host))


@pytest.mark.parametrize("host", ELSEWHERE)
def test_elsewhere_callers_are_known_or_it_is_asked_for(host: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = replace(SETTINGS, host=host)
    with pytest.raises(
        SettingsError, match=r"give --tokens or --client-ca, or listen on 127.0.0.1; --allow-anonymous if anyone"
    ):
        require_known_callers(settings)
    a_file = Path("file")
    require_known_callers(replace(settings, client_ca=a_file))
    require_known_callers(replace(settings, tokens=a_file, tls_certificate=a_file))
    require_known_callers(replace(settings, allow_anonymous=True))
    assert caplog.records == []


def test_tokens_in_plain_text_are_warned_of_where_others_may_read_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        require_known_callers(replace(SETTINGS, tokens=Path("tokens")))
        assert caplog.records == []
        require_known_callers(replace(SETTINGS, host="0.0.0.0", tokens=Path("tokens")))
    assert "on 0.0.0.0 tokens come in plain text" in caplog.text
