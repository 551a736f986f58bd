"""Run `avizor review` as a process, and ask it as a browser does, without one."""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from support.warm_starts import WarmPopen

AVIZOR = Path(sys.executable).with_name("avizor")


@dataclass
class Answered:
    """What came back: status, headers by their names in small letters, and the text or bytes of the body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()


@dataclass
class Page:
    """A server that runs. address: of its first page, with / at its end."""

    address: str
    process: subprocess.Popen[str]
    context: ssl.SSLContext | None = None

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answered:
        """Ask for a path, without following where it leads. headers: by names with _ for -."""
        place = urlsplit(self.address)
        assert place.hostname
        if self.context:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                place.hostname, place.port, timeout=30, context=self.context
            )
        else:
            connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, named, answer.read())
        finally:
            connection.close()

    def say(self, uri: str, model: str, answer: str, **more: str) -> Answered:
        """Answer an item as the page's form does."""
        form = {"uri": uri, "model": model, "answer": answer, "reviewer": "ana", **more}
        body = urlencode(form).encode()
        return self.ask("/answer", "POST", body, content_type="application/x-www-form-urlencoded", origin=self.address[:-1])


@contextmanager
def review_page(results: Path, *options: object, context: ssl.SSLContext | None = None, first: str = "") -> Iterator[Page]:
    """Run the page of a job on a free port of this machine. first: code that its process runs first."""
    program = [sys.executable, "-c", f"{first}\nfrom avizor_cli.main import main; main()"] if first else [AVIZOR]
    command = [*program, "review", results, "--port", "0", "--reviewer", "ana", *options]
    process = WarmPopen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        found = re.search(r"https?://\S+/", line)
        assert found, line + process.stderr.read()
        yield Page(found[0], process, context)
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            for stream in (process.stdout, process.stderr):
                assert stream
                stream.close()
