"""Over HTTP, too, each refusal and each call has a request id, a line in the log and a place in the metrics."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tritonclient.http as triton
from integration.gateway import IMAGE, Gateway, gateway, normal, odd
from integration.http_client import Answer, ask, ask_form, ask_json, raw
from tritonclient.utils import InferenceServerException

TOKEN = "5e" * 16
FILES = "/v1/models/digits:classify"
PNG = {"Content_Type": "image/png"}


@dataclass
class Logged:
    """A gateway that asks for tokens, and whose log is read."""

    running: Gateway
    log: Path

    @property
    def url(self) -> str:
        return self.running.http_url

    def line_of(self, request_id: str) -> dict[str, Any]:
        """The only line of a call or of a refusal, once it is written."""
        self.running.wait_until_idle()
        for _ in range(500):
            lines: list[dict[str, Any]] = [json.loads(line) for line in self.log.read_text().splitlines()]
            found = [line for line in lines if line.get("request_id") == request_id and line["event"] == "call"]
            if found:
                assert len(found) == 1
                assert found[0].pop("time").endswith("Z")
                assert 0 <= found[0].pop("duration_s") < 60
                return found[0]
            self.running.metrics()  # takes a while
        raise AssertionError(f"no line of {request_id}: {lines}")

    def rejected(self, reason: str) -> float:
        return self.running.metrics().get(f'avizor_rejected_total{{reason="{reason}"}}', 0.0)


@pytest.fixture(scope="module")
def logged(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("log")
    (folder / "tokens").write_text(f'"Bearer {TOKEN}" "plant-3";\n"Bearer {"7a" * 16}" "slow rate=0.01";\n')
    options = ["--alpha", 0.05, "--tokens", folder / "tokens", "--cors-origin", "https://a.example"]
    with gateway(models, *options, log=folder / "log") as running:
        yield Logged(running, folder / "log")


def headers(request_id: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}", "X_Request_Id": request_id, **more}


# Path, method, headers -> HTTP code, code in the log, name of the token, reason in the metric.
REFUSALS: dict[str, tuple[str, str, dict[str, str], int, str, str, str]] = {
    "no token": ("/v1/models", "GET", {"Authorization": ""}, 401, "UNAUTHENTICATED", "", "unauthenticated"),
    "a wrong token": (FILES, "POST", {"Authorization": "Bearer 0"}, 401, "UNAUTHENTICATED", "", "unauthenticated"),
    "no token, open": ("/v2", "GET", {"Authorization": ""}, 401, "UNAUTHENTICATED", "", "unauthenticated"),
    "another origin": ("/v1/models", "GET", {"Origin": "https://b.example"}, 403, "PERMISSION_DENIED", "", "origin"),
    "another origin, open": ("/v2", "GET", {"Origin": "null"}, 403, "PERMISSION_DENIED", "", "origin"),
    "another origin asks first": (
        FILES, "OPTIONS", {"Origin": "https://b.example", "Access_Control_Request_Method": "POST"}, 403, "PERMISSION_DENIED",
        "", "origin",
    ),
    "a page without an origin": ("/v1/models", "GET", {"Sec_Fetch_Site": "cross-site"}, 403, "PERMISSION_DENIED", "", "origin"),
    "no such path": ("/v3/" + "x" * 500, "GET", {}, 404, "UNIMPLEMENTED", "plant-3", "unknown"),
    "no such path, open": ("/v2/models/digits/nothing", "GET", {}, 404, "UNIMPLEMENTED", "plant-3", "unknown"),
    "no such method": (FILES, "GET", {}, 405, "UNIMPLEMENTED", "plant-3", "unknown"),
    "no such method, open": ("/v2/models/digits/infer", "DELETE", {}, 405, "UNIMPLEMENTED", "plant-3", "unknown"),
    "no such method of health": ("/v2/health/live", "POST", {}, 405, "UNIMPLEMENTED", "", "unknown"),
    "two lengths": (
        FILES, "POST", {"Transfer_Encoding": "chunked", "Content_Length": "0"}, 400, "INVALID_ARGUMENT", "", "malformed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_a_request_that_does_not_become_a_call_is_logged_counted_and_told_its_id(logged: Logged, case: str) -> None:
    path, method, more, code, name, token, reason = REFUSALS[case]
    request_id, before = uuid.uuid4().hex, logged.rejected(reason)
    answer = ask(logged.url, path, b"0\r\n\r\n" if "Transfer_Encoding" in more else None, method, **headers(request_id) | more)
    assert (answer.code, answer.headers["x-request-id"]) == (code, request_id)
    if path.startswith("/v2"):
        message = answer.json["error"]
        assert set(answer.json) == {"error"}
    else:
        message = answer.json["message"]
    expected = {"level": "warning", "event": "call", "request_id": request_id, "rpc": path[:100], "model": "", "code": name}
    assert logged.line_of(request_id) == expected | {"message": message} | ({"token": token} if token else {})
    assert logged.rejected(reason) == before + 1
    assert ("allow" in answer.headers) == (code == 405)


def test_what_is_no_http_has_an_id_a_line_and_is_counted(logged: Logged) -> None:
    before = logged.rejected("malformed")
    head, _, body = raw(logged.url, b"no request at all\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    (request_id,) = re.findall(r"x-request-id: ([0-9a-f]{32})", head.decode().lower())
    line = logged.line_of(request_id)
    assert (line["code"], line["message"]) == ("INVALID_ARGUMENT", json.loads(body)["message"])
    assert logged.rejected("malformed") == before + 1


def test_tritons_client_reads_why_it_was_turned_away(logged: Logged) -> None:
    with (
        triton.InferenceServerClient(logged.url.removeprefix("http://")) as client,
        pytest.raises(InferenceServerException, match="Authorization: Bearer") as caught,
    ):
        client.get_server_metadata()
    assert caught.value.status() == "401"


def test_a_call_has_one_line_with_every_field_and_no_payload(logged: Logged) -> None:
    request_id, trace_id = uuid.uuid4().hex, uuid.uuid4().hex
    parts: list[tuple[str, bytes | str]] = [("item", normal()), ("item", odd()), ("item", b"no sound"), ("source", "b\x1b[31m")]
    more = {"Traceparent": f"00-{trace_id}-{'b' * 16}-01"}
    answer = ask_form(logged.url, "/v1/models/normal:detectAnomaly?alpha=0.1", *parts, **headers(request_id, **more))
    assert (answer.code, answer.headers["x-request-id"]) == (200, request_id)
    assert logged.line_of(request_id) == {
        "level": "info",
        "event": "call",
        "request_id": request_id,
        "rpc": "DetectAnomaly",
        "model": "normal",
        "code": "OK",
        "trace_id": trace_id,
        "token": "plant-3",
        "version": 1,
        "sources": ["b\\x1b[31m"],
        "items": 3,
        "failed_items": 1,
        "anomalies": sum(item.get("isAnomaly", False) for item in answer.json["items"]),
    }
    assert TOKEN not in logged.log.read_text()


def test_a_call_of_the_open_inference_protocol_has_its_model_version_and_rows(logged: Logged) -> None:
    request_id = uuid.uuid4().hex
    tensor = {"name": "image", "datatype": "UINT8", "shape": [2, 32, 32, 1], "data": [0] * 2048}
    answer = ask_json(logged.url, "/v2/models/digits/infer", {"inputs": [tensor]}, **headers(request_id))
    assert (answer.code, answer.headers["x-request-id"]) == (200, request_id)
    assert logged.line_of(request_id) == {
        "level": "info",
        "event": "call",
        "request_id": request_id,
        "rpc": "ModelInfer",
        "model": "digits",
        "code": "OK",
        "token": "plant-3",
        "version": 1,
        "items": 2,
    }


def failed(logged: Logged, path: str, body: bytes | None = None, **more: str) -> tuple[Answer, dict[str, Any]]:
    request_id = uuid.uuid4().hex
    answer = ask(logged.url, path, body, **headers(request_id) | more)
    assert answer.headers["x-request-id"] == request_id
    return answer, logged.line_of(request_id)


@pytest.mark.parametrize(
    ("path", "body", "more", "code", "rpc", "model", "name"),
    [
        ("/v1/models/no%0Athing", None, {}, 404, "GetModel", "", "NOT_FOUND"),
        (f"/v1/models/digits/versions/{'9' * 4400}", None, {}, 400, "GetModel", "", "INVALID_ARGUMENT"),
        (f"/v1/models/digits/versions/{'9' * 20}:classify", b"{}", {}, 400, "Classify", "", "INVALID_ARGUMENT"),
        ("/v1/models/digits/versions/one", None, {}, 400, "GetModel", "", "INVALID_ARGUMENT"),
        (f"/v1/models/digits/versions/{'9' * 18}:classify", IMAGE.image, PNG, 404, "Classify", "digits", "NOT_FOUND"),
        ("/v2/models/nobody", None, {}, 404, "ModelMetadata", "", "NOT_FOUND"),
        (FILES, IMAGE.image, PNG | {"X_Request_Timeout": "1 day"}, 400, "Classify", "", "INVALID_ARGUMENT"),
        (FILES, IMAGE.image, PNG | {"X_Request_Timeout": "0"}, 504, "Classify", "", "DEADLINE_EXCEEDED"),
        (FILES, b"{", {"Content_Type": "application/json"}, 400, "Classify", "", "INVALID_ARGUMENT"),
        ("/v2/models/digits/infer", b"{", {}, 400, "ModelInfer", "", "INVALID_ARGUMENT"),
    ],
)  # fmt: skip
def test_a_call_that_fails_has_its_code_and_message_in_its_line(
    logged: Logged, path: str, body: bytes | None, more: dict[str, str], code: int, rpc: str, model: str, name: str
) -> None:
    answer, line = failed(logged, path, body, **more)
    assert (answer.code, line["model"], line["code"]) == (code, model, name), line
    assert line["rpc"] == rpc
    assert line["message"]
    assert "\n" not in line["message"]


def test_a_token_that_calls_too_often_has_a_line_that_names_it(logged: Logged) -> None:
    slow = f"Bearer {'7a' * 16}"
    assert ask(logged.url, "/v1/models", Authorization=slow).code == 200
    answer, line = failed(logged, "/v1/models", Authorization=slow)
    assert (answer.code, line["code"], line["token"]) == (429, "RESOURCE_EXHAUSTED", "slow")
    assert 30 < int(answer.headers["retry-after"]) <= 100
