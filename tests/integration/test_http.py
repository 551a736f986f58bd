"""HTTP: avizor.v1 as JSON and files, by a client that knows nothing but HTTP."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from integration.gateway import IMAGE, Gateway, gateway, normal, odd
from integration.http_client import Answer, ask, ask_form, ask_json

from avizor.v1 import inference_pb2 as pb

SERVICE = "/avizor.v1.InferenceService"


@pytest.fixture(scope="module")
def running(models: Path) -> Iterator[Gateway]:
    with gateway(
        models, "--alpha", 0.05, "--max-message-mib", 1, "--max-items", 4, "--cors-origin", "https://a.example"
    ) as one:
        yield one


@pytest.fixture(scope="module")
def url(running: Gateway) -> str:
    return running.http_url


def test_json_asks_and_answers_what_grpc_does(running: Gateway) -> None:
    request = pb.DetectAnomalyRequest(
        model="normal", items=[pb.Item(audio=normal(), source="a"), pb.Item(audio=odd())], outputs=["embedding"]
    )
    with grpc.insecure_channel(running.address) as channel:
        expected = running.stub(channel).DetectAnomaly(request)
    answer = ask_json(running.http_url, f"{SERVICE}/DetectAnomaly", MessageToDict(request))
    assert (answer.code, answer.headers["content-type"]) == (200, "application/json")
    assert ParseDict(answer.json, pb.DetectAnomalyResponse()) == expected
    assert [item["isAnomaly"] for item in answer.json["items"]] == [False, True]  # what is false is said, too


def test_every_rpc_of_one_request_has_a_path(url: str) -> None:
    item = {"items": [{"image": b64encode(IMAGE.image).decode()}]}
    sound = {"items": [{"audio": b64encode(normal()).decode()}]}
    assert [each["name"] for each in ask_json(url, f"{SERVICE}/ListModels", {}).json["models"]] == [
        each["name"] for each in ask(url, "/v1/models").json["models"]
    ]
    assert ask_json(url, f"{SERVICE}/GetModel", {"name": "digits"}).json == ask(url, "/v1/models/digits/versions/1").json
    for verb, model, request in (
        ("classify", "digits", item),
        ("embed", "digits", item),
        ("explain", "digits", item),
        ("detectAnomaly", "normal", sound),
        ("reconstruct", "normal", sound),
    ):
        rpc = verb[0].upper() + verb[1:]
        by_name = ask_json(url, f"{SERVICE}/{rpc}", request | {"model": model})
        by_path = ask_json(url, f"/v1/models/{model}:{verb}", request)
        assert (by_name.code, by_path.code) == (200, 200), by_path.body
        assert by_name.json == by_path.json
        assert "error" not in by_path.json["items"][0]


def test_a_file_gets_a_verdict_without_generated_code(url: str) -> None:
    answer = ask_form(url, "/v1/models/normal:detectAnomaly?source=a&alpha=0.04", ("item", normal()), ("item", odd()))
    assert answer.code == 200, answer.body
    items = [{"audio": b64encode(sound).decode(), "source": "a"} for sound in (normal(), odd())]
    assert answer.json == ask_json(url, "/v1/models/normal:detectAnomaly", {"items": items, "alpha": 0.04}).json
    assert answer.json["items"][0]["judgedBy"] == "a"
    assert [item["isAnomaly"] for item in answer.json["items"]] == [False, True]


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/models/digits:classify?top_k=3", IMAGE.image, "image/png"),
        ("/v1/models/digits/versions/1:classify?topK=3", IMAGE.image, "application/octet-stream"),
        ("/v1/models/kinds:classify?topK=3&channelMode=mix", normal(), "audio/wav"),
    ],
)
def test_a_body_may_be_the_file_itself(url: str, path: str, body: bytes, kind: str) -> None:
    answer = ask(url, path, body, Content_Type=kind)
    assert (answer.code, len(answer.json["items"][0]["classes"])) == (200, 3), answer.body


def test_a_form_names_what_each_part_is_and_has_the_other_fields(url: str) -> None:
    sample = np.zeros((32, 32, 1), np.uint8)
    tensor = f'{{"dtype": "uint8", "shape": [32, 32, 1], "data": "{b64encode(sample.tobytes()).decode()}"}}'
    answer = ask_form(url, "/v1/models/digits:classify", ("image", IMAGE.image), ("tensor", tensor), ("top_k", "2"))
    assert answer.code == 200, answer.body
    first, second = answer.json["items"]
    assert first["classes"] == second["classes"]
    assert len(first["classes"]) == 2


def test_a_row_is_sent_as_json(url: str) -> None:
    (output,) = [each for each in ask(url, "/v1/models").json["models"] if each["name"] == "transfers"]
    columns = output["table"]["columns"]
    row = {each["name"]: each["categories"][0] if each.get("categories") else 1.0 for each in columns}
    as_json = ask_json(url, "/v1/models/transfers:detectAnomaly", {"items": [{"row": row, "source": "a"}]})
    in_form = ask_form(url, "/v1/models/transfers:detectAnomaly", ("item", json.dumps(row)), ("source", "a"))
    assert as_json.code == 200, as_json.body
    assert as_json.json == in_form.json
    assert as_json.json["items"][0]["pValue"] > 0
    table = ask_form(url, "/v1/models/transfers:detectAnomaly", ("item", "amount,hour\n1,2\n"))
    assert table.code == 400
    assert 'row is sent as a JSON object, such as {"COLUMN": 12.5}; of a table each row is a part' in table.json["message"]


def test_nested_fields_and_short_names_of_enumerations_are_understood(url: str) -> None:
    path = "/v1/models/digits:explain?method=occlusion&occlusion.size=16&occlusion.stride=16&format=both"
    answer = ask_form(url, path, ("item", IMAGE.image))
    assert answer.code == 200, answer.body
    assert answer.json["rows"] == "5"  # the picture itself, and 2 x 2 places
    assert answer.json["items"][0]["png"].startswith("iVBORw0K")


@pytest.mark.parametrize("verb", ["detect", "detectanomaly", "monitor", ""])
@pytest.mark.parametrize("path", ["/v1/models/normal", "/v1/models/normal/versions/1"])
def test_a_verb_that_there_is_not_is_told_with_those_there_are(url: str, path: str, verb: str) -> None:
    for body in (None, normal()):
        answer = ask(url, f"{path}:{verb}", body, Content_Type="audio/wav")
        assert (answer.code, answer.json["code"]) == (404, 12)
        assert answer.json["message"] == (
            f"nothing is called ':{verb}' here; there are classify, detectAnomaly, embed, explain, reconstruct"
        )


def refused(answer: Answer) -> tuple[int, int, str]:
    """The HTTP code, and of the google.rpc.Status its code and its message."""
    assert answer.headers["content-type"] == "application/json"
    return answer.code, answer.json["code"], answer.json["message"]


FILES = "/v1/models/digits:classify"


@pytest.mark.parametrize(
    ("path", "body", "kind", "code", "message"),
    [
        (f"{SERVICE}/Classify", b"{", "application/json", 400, "the body is not JSON"),
        (f"{SERVICE}/Classify", b"[1]", "application/json", 400, "is not an object"),
        (f"{SERVICE}/Classify", b"\xff{}", "application/json", 400, "utf-8"),
        (f"{SERVICE}/Classify", b'{"model": "a", "model": "b"}', "application/json", 400, "repeated"),
        (f"{SERVICE}/Classify", b'{"threshold": NaN}', "application/json", 400, "NaN is not a number of JSON"),
        (f"{SERVICE}/Classify", b'{"topK": 1' + b"0" * 5000 + b"}", "application/json", 400, "not JSON"),
        (f"{SERVICE}/Classify", b'{"threshold": 1' + b"0" * 4000 + b"}", "application/json", 400, "ClassifyRequest"),
        (f"{SERVICE}/Classify", b'{"topK": 1.5}', "application/json", 400, "topK"),
        (f"{SERVICE}/Classify", b'{"modle": "a"}', "application/json", 400, "modle"),
        (f"{SERVICE}/Classify", b'{"model": "\\ud800"}', "application/json", 400, ""),
        (f"{SERVICE}/Classify", b'{"items": [{"image": "not base64!"}], "model": "digits"}', "application/json", 400, "image"),
        (f"{SERVICE}/Classify", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "application/json", 400, "too deeply"),
        (f"{SERVICE}/Classify", b"[" * 100_000, "application/json", 400, "too deeply"),
        (f"{SERVICE}/Classify", b'{"items": [' + b"{}," * 90_000 + b"{}]}", "application/json", 400, "commas, colons"),
        (f"{SERVICE}/Classify", b"{}", "text/plain", 400, "is not application/json"),
        (f"{SERVICE}/Classify", b'{"model": "none", "items": [{}]}', "application/json", 404, "no model named 'none'"),
        (f"{SERVICE}/Monitor", b"{}", "application/json", 404, "no such path"),
        (FILES, b'{"model": "digits"}', "application/json", 400, "the path says which model"),
        (FILES, b"a=b", "application/x-www-form-urlencoded", 400, "does not say what the body is"),
        (FILES, b"", "", 400, "does not say what the body is"),
        (FILES + "?topk=3", IMAGE.image, "image/png", 400, "no field 'topk'"),
        (FILES + "?items=3", IMAGE.image, "image/png", 400, "no field 'items'"),
        (FILES + "?top_k=3&topK=4", IMAGE.image, "image/png", 400, "given twice"),
        (FILES, b'{"items": [], "top_k": 3, "topK": 4}', "application/json", 400, "top_k and topK are the same field"),
        (FILES + "?top_k=many", IMAGE.image, "image/png", 400, "top_k"),
        (FILES + "?version=x", IMAGE.image, "image/png", 400, "not a number"),
        (FILES + "?version=7", IMAGE.image, "image/png", 404, "version"),
        (FILES + "?source=a&channel_mode=loud", IMAGE.image, "image/png", 400, "channel_mode"),
        ("/v1/models/digits:detectAnomaly", IMAGE.image, "image/png", 400, "call Classify"),
        ("/v1/models/none:classify", IMAGE.image, "image/png", 404, "no model named 'none'"),
        (FILES, b"no form", "multipart/form-data; boundary=x", 400, "not multipart/form-data"),
        (FILES, b"no form", "multipart/form-data", 400, "boundary"),
        (
            FILES,
            b'--x\r\nContent-Disposition: form-data; name="item"\r\n\r\nabc',
            "multipart/form-data; boundary=x",
            400,
            "ends before",
        ),
        (FILES, b"--x\r\n" + b"a" * 100_000, "multipart/form-data; boundary=x", 400, "not multipart/form-data"),
        (FILES, b"--x\r\n" + b"a: b\r\n" * 10_000, "multipart/form-data; boundary=x", 400, "not multipart/form-data"),
    ],
)
def test_what_is_wrong_is_said_with_the_code_that_fits(
    url: str, path: str, body: bytes, kind: str, code: int, message: str
) -> None:
    found, _, text = refused(ask(url, path, body, **({"Content_Type": kind} if kind else {})))
    assert (found, message in text) == (code, True), text


def test_a_form_has_as_many_files_as_a_request_may_have_items(url: str) -> None:
    assert refused(ask_form(url, FILES, *[("item", b"")] * 400))[:2] == (400, 3)
    assert refused(ask_form(url, FILES, *[("top_k", "1")] * 400))[:2] == (400, 3)
    assert "name it item" in refused(ask_form(url, FILES, ("file", b"")))[2]


def test_one_bad_item_does_not_cost_the_others_their_answer(url: str) -> None:
    answer = ask_form(url, FILES, ("item", IMAGE.image), ("item", b"no picture"))
    good, bad = answer.json["items"]
    assert (answer.code, bad["error"]["code"], len(good["classes"])) == (200, 3, 1)
    assert bad["error"]["details"][0]["fieldViolations"][0]["field"].startswith("items[1]")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(url: str) -> None:
    answer = ask(url, FILES, b"a" * (3 << 20), Content_Type="image/png")
    assert refused(answer)[:2] == (413, 8)
    assert "--max-message-mib" in answer.json["message"]


def test_a_timeout_is_kept_to_or_refused(url: str) -> None:
    late = ask(url, FILES, IMAGE.image, Content_Type="image/png", X_Request_Timeout="0.000001")
    assert refused(late)[:2] == (504, 4)
    assert refused(ask(url, FILES, IMAGE.image, Content_Type="image/png", X_Request_Timeout="1 day"))[:2] == (400, 3)
    assert ask(url, FILES, IMAGE.image, Content_Type="image/png", X_Request_Timeout="300").code == 200


def test_calls_are_counted_like_those_of_grpc(running: Gateway) -> None:
    series = 'avizor_requests_total{code="OK",model="digits",rpc="Embed"}'
    before = running.metrics().get(series, 0.0)
    assert ask_form(running.http_url, "/v1/models/digits:embed", ("item", IMAGE.image)).code == 200
    running.wait_until_idle()
    assert running.metrics()[series] == before + 1
    assert not any("none" in name for name in running.metrics())  # no text of clients becomes a label


def test_a_request_id_is_kept_or_made_and_sent_back(url: str) -> None:
    kept = ask_form(url, FILES, ("item", IMAGE.image), X_Request_Id="abc-1")
    assert (kept.code, kept.headers["x-request-id"]) == (200, "abc-1")
    made = ask(url, "/v1/models/none", X_Request_Id="not plain")
    assert made.code == 404
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])


def test_pages_of_named_origins_may_call_and_others_may_not(url: str) -> None:
    allowed = ask(url, "/v1/models", Origin="https://a.example")
    assert (allowed.code, allowed.headers["access-control-allow-origin"]) == (200, "https://a.example")
    asked = ask(
        url,
        FILES,
        method="OPTIONS",
        Origin="https://a.example",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="authorization,x-request-timeout",
    )
    assert (asked.code, asked.headers["access-control-allow-origin"]) == (200, "https://a.example")
    other = ask(url, "/v1/models", Origin="https://b.example")
    assert refused(other)[:2] == (403, 7)
    assert "access-control-allow-origin" not in other.headers


def test_health_is_asked_without_a_token_and_all_else_with_one(models: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text('"Bearer right" "a";\n"Bearer narrow" "b models=digits";\n')
    with gateway(models, "--alpha", 0.05, "--tokens", tmp_path / "tokens") as one:
        url = one.http_url
        assert (ask(url, "/v2/health/live").code, ask(url, "/v2/health/ready").code) == (200, 200)
        assert ask(url, "/v2/health/live", b"").code == 405
        without = ask(url, "/v1/models")
        assert refused(without)[:2] == (401, 16)
        assert without.headers["www-authenticate"] == "Bearer"
        assert ask(url, "/v1/models", Authorization="Bearer wrong").code == 401
        assert ask(url, "/v1/models", Authorization="Bearer right").code == 200
        narrow = ask(url, "/v1/models", Authorization="Bearer narrow")
        assert [each["name"] for each in narrow.json["models"]] == ["digits"]
        assert ask(url, "/v1/models/kinds", Authorization="Bearer narrow").code == 403
        assert (
            ask(url, "/v1/models/kinds:classify", normal(), Content_Type="audio/wav", Authorization="Bearer narrow").code == 403
        )


def test_http_can_be_turned_off(models: Path) -> None:
    with gateway(models, "--alpha", 0.05, "--no-http") as one:
        assert one.http_url == ""
