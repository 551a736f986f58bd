"""access.py: which addresses other machines reach, and what is asked of callers there."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from avizor_inference.errors import SettingsError
from avizor_inference.repository.models import ModelRepository
from avizor_service.access import reached_by_others, require_known_callers, warn_of_unknown_models
from avizor_service.settings import Settings
from avizor_service.tokens import Token

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


def test_models_that_a_token_names_and_that_are_not_there_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "fan").mkdir()
    tokens = [
        Token(b"1", "all"),
        Token(b"2", "press-line", frozenset({"fan"})),
        Token(b"3", "paint-shop", frozenset({"fan", "pmup", "mtoor"})),
    ]
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_models(tokens, ModelRepository(tmp_path))
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"the token of paint-shop may ask for mtoor, pmup, and no model in {tmp_path} is called"
    )
