"""What a web page has a browser send over HTTP is answered for pages that may call alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from integration.gateway import IMAGE, Gateway, gateway
from integration.http_client import ask, raw

FILES = "/v1/models/digits:classify"


@pytest.fixture(scope="module")
def open_to_all(models: Path) -> Iterator[Gateway]:
    with gateway(models, "--alpha", 0.05) as running:
        yield running


# As a browser sends them for `fetch(url, {method: "POST", mode: "no-cors", body})`, which asks no leave before.
SIMPLE = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")


@pytest.mark.parametrize("kind", [*SIMPLE, "image/png"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", "file://"])
def test_no_page_may_call_a_gateway_that_names_no_origins(open_to_all: Gateway, kind: str, origin: str) -> None:
    answer = ask(open_to_all.http_url, FILES, IMAGE.image, Content_Type=kind, Origin=origin)
    assert (answer.code, answer.json["code"]) == (403, 7)
    assert "--cors-origin" in answer.json["message"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/digits", "/v2", "/v2/models/stats", "/v2/health/ready", "/v2/repository/index"]
)
def test_a_name_of_another_site_is_not_answered_to(open_to_all: Gateway, path: str) -> None:
    """A page of evil.example whose name now means 127.0.0.1 is of the same origin, and its GET has no Origin."""
    port = urlsplit(open_to_all.http_url).port
    for host in (f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.7", "[::2]:1", "0", ""):
        answer = ask(open_to_all.http_url, path, Host=host)
        assert answer.code == 403, host
        assert b"--http-name" in answer.body


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "localhost.", "a.localhost:80", "127.0.0.1:80", "127.8.8.8", "[::1]:80"]
)
def test_names_of_this_machine_are_answered_to(open_to_all: Gateway, host: str) -> None:
    assert ask(open_to_all.http_url, "/v1/models", Host=host).code == 200


def test_a_client_that_names_no_host_is_no_browser(open_to_all: Gateway) -> None:
    assert raw(open_to_all.http_url, b"GET /v2/health/live HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_two_names_are_no_request(open_to_all: Gateway) -> None:
    answer = raw(open_to_all.http_url, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


def targeted(running: Gateway, target: str, host: str) -> bytes:
    """Return the first line of the answer to a GET of a target."""
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    return raw(running.http_url, request.encode()).partition(b"\r\n")[0]


@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
def test_a_target_that_is_an_address_is_answered_as_its_path_is(open_to_all: Gateway, scheme: str) -> None:
    for path, code in (
        ("/v2/health/live", b"200"),
        ("/v1/models/digits?a=b", b"200"),
        ("/v1/models/d%69gits", b"200"),
        ("/v1/models/none", b"404"),
        ("", b"404"),
    ):
        assert targeted(open_to_all, f"{scheme}://localhost:80{path}", "localhost").split()[1] == code, path


def test_the_name_that_counts_is_that_of_the_address(open_to_all: Gateway) -> None:
    assert targeted(open_to_all, "http://evil.example/v1/models", "localhost").split()[1] == b"403"
    assert targeted(open_to_all, "http://localhost/v1/models", "evil.example").split()[1] == b"200"


@pytest.mark.parametrize(
    "target", ["http:///v1/models", "ftp://localhost/v1/models", "http://a@localhost/v1/models", "http:/v1"]
)
def test_a_target_that_is_no_address_of_http_is_unknown(open_to_all: Gateway, target: str) -> None:
    assert targeted(open_to_all, target, "localhost").split()[1] == b"404"


def test_a_picture_or_a_script_of_a_page_is_refused(open_to_all: Gateway) -> None:
    for site, code in (("cross-site", 403), ("same-site", 403), ("none", 200), ("same-origin", 200)):
        assert ask(open_to_all.http_url, "/v1/models", Sec_Fetch_Site=site).code == code


def test_a_name_can_be_allowed_and_then_others_are_refused_with_tokens_too(models: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text('"Bearer right" "a";\n')
    options = ["--alpha", 0.05, "--http-name", "Gateway.example", "--tokens", tmp_path / "tokens"]
    with gateway(models, *options) as running:
        for host, code in (("gateway.example:8080", 200), ("localhost", 200), ("evil.example", 403)):
            assert ask(running.http_url, "/v1/models", Host=host, Authorization="Bearer right").code == code


@pytest.mark.parametrize("callers", [["--tokens", "tokens"], ["--allow-anonymous"]])
def test_any_name_is_answered_to_where_callers_are_known_or_anyone_is_meant(
    models: Path, tmp_path: Path, callers: list[str]
) -> None:
    (tmp_path / "tokens").write_text('"Bearer right" "a";\n')
    options = [str(tmp_path / "tokens") if each == "tokens" else each for each in callers]
    with gateway(models, "--alpha", 0.05, *options) as running:
        assert ask(running.http_url, "/v1/models", Host="front-door.example", Authorization="Bearer right").code == 200
