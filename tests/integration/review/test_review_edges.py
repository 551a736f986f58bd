"""What a reviewer, or somebody who is none, meets at the edges of the review page: a real server, asked over sockets."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from support.review_page import review_page

from avizor_inference.review_answers import AnswerFile

SHORT = "import avizor_review.page.serving as serving; serving.REQUEST_S = 0.5"
URI = "/data/a/odd1.wav"


def test_a_table_that_is_damaged_while_somebody_answers_is_said_on_a_page(reviewed_job: Path, tmp_path: Path) -> None:
    shutil.copytree(reviewed_job, tmp_path / "results")
    with review_page(tmp_path / "results") as running:
        assert running.ask("/").status == 200
        for part in (tmp_path / "results" / "recordings").glob("*.parquet"):
            part.write_bytes(b"not a table any more")
        refused = running.say(URI, "normal", "abnormal")
    assert refused.status == 500
    assert "This cannot be shown" in refused.text
    assert "tables cannot be read" in refused.text
    assert AnswerFile(tmp_path / "results" / "answers.jsonl").answers().answered() == []


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\nuri=",
    ],
    ids=["nothing", "headers", "body"],
)
def test_a_request_that_does_not_become_complete_ends_and_one_that_is_slow_to_be_answered_does_not(
    reviewed_job: Path, beginning: bytes
) -> None:
    with review_page(reviewed_job, first=SHORT) as running:
        place = urlsplit(running.address)
        with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
            connection.settimeout(0.1)
            ended = False
            while not ended:  # it ends, or the test does not
                try:
                    connection.sendall(beginning[:1] or b"")
                    beginning = beginning[1:] or b"x" * bool(beginning)
                    ended = not connection.recv(4096)
                except TimeoutError:
                    continue
                except OSError:
                    ended = True
        assert running.ask("/").status == 200


def test_one_connection_serves_again_after_a_pause(reviewed_job: Path) -> None:
    with review_page(reviewed_job, first=SHORT) as running:
        place = urlsplit(running.address)
        with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
            for _ in range(2):
                connection.sendall(b"GET /static/review.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"
                time.sleep(1)
                connection.recv(1 << 20)


def test_the_name_of_a_reviewer_travels_over_tls_only_where_there_is_tls(reviewed_job: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(key)
    for part in issued.cert_chain_pems:
        part.write_to_path(certificate, append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    uri = next(str(path) for path in sorted((reviewed_job.parent / "data" / "a").iterdir()) if path.name == "odd1.wav")
    keep = ("--answers", tmp_path / "answers.jsonl")
    with review_page(reviewed_job, *keep, "--tls-certificate", certificate, "--tls-key", key, context=context) as running:
        assert "secure" in running.say(uri, "normal", "normal").headers["set-cookie"].lower()
    with review_page(reviewed_job, *keep) as running:
        assert "secure" not in running.say(uri, "normal", "normal").headers["set-cookie"].lower()
