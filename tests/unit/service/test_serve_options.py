"""The command line of `avizor serve` and `avizor health`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from avizor_service.cli import serve
from avizor_service.health import health
from avizor_service.settings import Settings


def settings(arguments: list[str]) -> Settings:
    with serve.make_context("serve", arguments) as context:
        return Settings(**context.params)


def test_the_options_of_serve_are_the_settings_with_their_defaults() -> None:
    assert settings([]) == Settings(models=Path("models"))
    assert {option.name for option in serve.params} == {field.name for field in dataclasses.fields(Settings)}


def test_options_are_read_as_the_settings_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVIZOR_SERVE_SOURCES", "pump,,fan")
    monkeypatch.setenv("AVIZOR_SERVE_MAX_MESSAGE_MIB", "5")
    read = settings(["--host", "[::1]"])
    assert (read.host, read.sources, read.max_message_mib) == ("::1", ("pump", "fan"), 5)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(("--cors-origin", each) for each in ("a.example", "*", "null", "", "https://a.example/", "https://")),
        *(
            ("--cors-origin", each)
            for each in ("https://a.example:443", "http://a.example:80", "https://b@a.example", "https://a b")
        ),
        *(("--http-name", each) for each in ("https://a.example", "a.example:8080", "a.example/", "*", "", "[::1]:80")),
    ],
)
def test_what_no_browser_sends_is_refused_as_an_origin_or_a_name(option: str, text: str) -> None:
    """It would never be met, and a page would be refused without a word why."""
    refused = CliRunner().invoke(serve, [option, text])
    assert refused.exit_code == 2
    assert f"Invalid value for '{option}': {text!r} is no" in refused.output


def test_origins_and_names_are_read_as_browsers_send_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AVIZOR_SERVE_CORS_ORIGIN", "https://A.example  http://localhost:3000 http://[::1]:443 chrome-extension://ab"
    )
    read = settings(["--http-name", "Pumps.example.", "--http-name", "[::1]"])
    assert read.cors_origin == ("https://a.example", "http://localhost:3000", "http://[::1]:443", "chrome-extension://ab")
    assert read.http_name == ("pumps.example", "::1")
    monkeypatch.setenv("AVIZOR_SERVE_CORS_ORIGIN", "")
    assert settings([]).cors_origin == ()


@pytest.mark.parametrize("command", [serve, health])
def test_every_option_has_help_and_the_command_has_examples(command: click.Command) -> None:
    assert all(isinstance(option, click.Option) and option.help for option in command.params)
    shown = CliRunner().invoke(command, ["--help"]).output
    assert shown.count(f"  avizor {command.name}") >= 2


def test_every_option_of_serve_is_in_a_group() -> None:
    shown = CliRunner().invoke(serve, ["--help"]).output
    assert [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")] == [
        "Models:",
        "Listening:",
        "Safety:",
        "Workers:",
        "Anomalies:",
        "Kept for a look:",
        "Limits:",
        "Explanations:",
        "Connections:",
        "Memory:",
        "Decoding:",
        "Log and traces:",
        "Stopping:",
        "Other options:",
    ]
    others = shown.partition("Other options:")[2].partition("Examples:")[0]
    assert others.split()[0] == "--help"
    assert others.count("--") == 1
