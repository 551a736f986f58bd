"""Who may look at the page of a job and answer on it, and what it keeps: a real server, asked as browsers and others do."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import trustme
from support.review_page import AVIZOR, Page, review_page
from support.warm_starts import warm_run

from avizor_inference.review_answers import AnswerFile

FORM = {"content_type": "application/x-www-form-urlencoded"}


@pytest.fixture
def flagged(results: Path) -> str:
    """What a form names: the uri of an item of the job."""
    return next(str(path) for path in sorted((results.parent / "data" / "a").iterdir()) if path.name == "odd1.wav")


def answers(results: Path) -> int:
    return len(AnswerFile(results / "answers.jsonl").answers().answered())


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"sec_fetch_site": "cross-site"}, {"origin": "null"}, {"host": "evil.example"}],
)
def test_pages_of_other_sites_may_not_answer(page: Page, results: Path, flagged: str, headers: dict[str, str]) -> None:
    body = f"uri={flagged}&model=normal&answer=normal&reviewer=eve".encode()
    assert page.ask("/answer", "POST", body, **FORM, **headers).status == 403
    assert answers(results) == 0


def test_a_name_that_is_not_the_servers_reads_nothing(page: Page) -> None:
    refused = page.ask("/", host="rebound.example")
    assert refused.status == 403
    assert "odd1" not in refused.text
    assert "--name" in refused.text


@pytest.mark.parametrize("name", ["[", "[::1", "a b", "\x7f", "[" * 3])
def test_a_name_that_is_none_is_refused_and_not_a_failure(page: Page, name: str) -> None:
    assert page.ask("/", host=name).status == 403
    assert page.ask("/answer", "POST", b"", **FORM, origin=f"http://{name}").status == 403


def test_results_that_are_gone_are_said_and_come_back(reviewed_job: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(reviewed_job, copied)
    with review_page(copied) as running:
        assert running.ask("/").status == 200
        copied.rename(tmp_path / "away")
        gone = running.ask("/")
        assert gone.status == 500
        assert "is not there any more" in gone.text
        assert not copied.exists(), "nothing is made there"
        (tmp_path / "away").rename(copied)
        assert "of 16 items are flagged" in running.ask("/").text


def test_a_browser_that_goes_away_within_an_answer_leaves_no_trace(results: Path) -> None:
    with review_page(results) as running:
        place = urlsplit(running.address)
        head = f"POST /answer HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 100\r\n\r\nuri=".encode()
        with socket.create_connection((place.hostname or "", place.port or 0), 10) as connection:
            connection.sendall(head)
            time.sleep(0.3)  # until the server reads it
        assert running.ask("/").status == 200
        running.process.terminate()
        running.process.wait(20)
        assert running.process.stderr
        assert running.process.stderr.read() == ""


def test_the_name_of_a_reviewer_is_kept_as_it_can_be_printed(page: Page, results: Path, flagged: str) -> None:
    assert page.say(flagged, "normal", "normal", reviewer="a\x00\x1b[31m  b\u202e", note="n\x00\n\ttwo").status == 303
    answers = AnswerFile(results / "answers.jsonl").answers()
    (answer,) = answers.on(answers.answered()[0])
    assert answer.reviewer == "a\\x00\\x1b[31m b\\u202e"
    assert answer.note == "n\\x00\n\ttwo"


def test_what_is_no_answer_is_refused_and_nothing_is_kept(page: Page, results: Path, flagged: str) -> None:
    for uri, answer, more in (
        (flagged, "wonderful", {}),
        ("nowhere.wav", "normal", {}),
        (flagged, "normal", {"note": "x" * 3000}),
        (flagged, "normal", {"reviewer": ""}),
    ):
        refused = page.say(uri, "normal", answer, **more)
        place = refused.headers.get("location")
        assert refused.status >= 400, (uri, answer, more, place)
        assert "not kept: " in refused.text or refused.status == 404
    assert answers(results) == 0


def test_a_note_is_still_there_when_its_answer_was_not_kept(page: Page, flagged: str) -> None:
    refused = page.say(flagged, "normal", "normal", reviewer="", note="</textarea> two hours of listening")
    assert (refused.status, 'role="alert">not kept: reviewer' in refused.text) == (422, True)
    assert "&lt;/textarea&gt; two hours of listening</textarea>" in refused.text


def test_a_link_cannot_put_words_into_the_mouth_of_the_page(page: Page, flagged: str) -> None:
    assert "call 555" not in page.ask(f"/item?{urlencode({'uri': flagged, 'model': 'normal', 'problem': 'call 555'})}").text


def test_an_answer_is_there_after_the_server_was_killed(results: Path, flagged: str) -> None:
    with review_page(results) as running:
        assert running.say(flagged, "normal", "abnormal", note="a bearing").status == 303
        running.process.kill()
    with (results / "answers.jsonl").open("ab") as file:
        file.write(b'{"uri": "torn')  # as a power failure leaves it
    with review_page(results) as running:
        assert running.say(flagged, "normal", "unsure").status == 303
        assert "1 lines of the file of answers cannot be read" in running.ask("/").text
    (item,) = AnswerFile(results / "answers.jsonl").answers().answered()
    assert AnswerFile(results / "answers.jsonl").answers().verdict(item) == "unsure"


def test_elsewhere_it_takes_a_token_and_tls(results: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key, token = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "token"
    issued.private_key_pem.write_to_path(key)
    for part in issued.cert_chain_pems:
        part.write_to_path(certificate, append=True)
    token.write_text("open-sesame-1234\n")
    bare = [str(AVIZOR), "review", str(results), "--host", "0.0.0.0", "--port", "0"]
    refused = warm_run(bare, timeout=60)
    assert refused.returncode != 0
    assert "give --token-file and --tls-certificate, or listen on 127.0.0.1" in refused.stderr
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = ["--token-file", token, "--tls-certificate", certificate, "--tls-key", key]
    with review_page(results, *options, context=context) as running:
        assert running.address.startswith("https://")
        unknown = running.ask("/")
        assert (unknown.status, unknown.headers["location"]) == (303, "/login")
        assert running.ask("/", authorization="Bearer wrong").status == 303
        assert running.ask("/", authorization="Bearer open-sesame-1234").status == 200
        login = running.ask("/login", "POST", b"token=open-sesame-1234", **FORM, origin=running.address[:-1])
        cookie = login.headers["set-cookie"]
        assert {"HttpOnly", "Secure"} <= {part.strip() for part in cookie.split(";")}
        assert running.ask("/", cookie=cookie.split(";")[0]).status == 200
        wrong = running.ask("/login", "POST", b"token=guess", **FORM, origin=running.address[:-1])
        assert "set-cookie" not in wrong.headers
