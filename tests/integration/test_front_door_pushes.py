"""A batch job pushes through the front door, with TLS and a token, and a token never travels in plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration.front_door import FrontDoor, front_door, token_file
from integration.jobs import Sink, pushgateway

from avizor_inference.errors import SettingsError
from avizor_pipeline.cli.exit_status import PushedEnd
from avizor_pipeline.reporting.metrics import BatchMetrics
from avizor_pipeline.reporting.pushgateway import PushAccess, check_gateway


@dataclass(frozen=True)
class Site:
    door: FrontDoor
    sink: Sink
    tokens: dict[str, str]

    @property
    def address(self) -> str:
        return f"https://{self.door.address}/pushgateway"

    def access(self, token: str) -> PushAccess:
        path = self.door.folder / "token"
        path.write_text(f"{token}\n")
        return PushAccess(path, self.door.folder / "ca.pem")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("door")
    tokens = token_file(folder, jobs="", limited="models=fan")
    with pushgateway() as sink, front_door(folder, pushgateway_9091=sink.address) as door:
        yield Site(door, sink, tokens)


def test_a_job_pushes_start_end_and_success_through_the_front_door(site: Site) -> None:
    with PushedEnd(BatchMetrics(), site.address, "night shift/1", access=site.access(site.tokens["jobs"])) as end:
        assert end.push(0) == ""
    assert site.sink.codes == [0]
    (job,) = {path.removesuffix("/outcome/success") for path in (*site.sink.paths, *(path for path, _ in site.sink.added))}
    assert job == "/metrics/job@base64/bmlnaHQgc2hpZnQvMQ=="


@pytest.mark.parametrize(("client", "answer"), [("limited", "403"), ("nobody", "401 .*see --push-token-file")])
def test_a_token_that_may_not_push_is_told_so(site: Site, client: str, answer: str) -> None:
    before = len(site.sink.codes)
    with PushedEnd(BatchMetrics(), site.address, "night", access=site.access(site.tokens.get(client, "0f"))) as end:
        assert re.search(answer, end.push(0))
    assert len(site.sink.codes) == before


def test_without_the_certificate_nothing_is_sent(site: Site) -> None:
    before = len(site.sink.codes)
    with PushedEnd(BatchMetrics(), site.address, "night", access=PushAccess(site.access("0f").token)) as end:
        assert re.search(r"TLS failed \(.*certificate.*--push-ca-file", end.push(0))
    assert len(site.sink.codes) == before


@pytest.mark.parametrize("address", ["127.0.0.1:9091", "http://127.0.0.1:9091"])
def test_a_token_is_not_sent_in_plain_text(site: Site, address: str) -> None:
    with pytest.raises(SettingsError, match="in plain text; write https://"):
        check_gateway(address, site.access("0f"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--push-ca-file .*: there is no such file"):
        check_gateway("https://localhost", PushAccess(ca=tmp_path / "ca.pem"))
