"""The front door sends each call to the server that is to answer it, and lets nothing else through."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from integration.front_door import FrontDoor, front_door, token_file
from integration.gateway import AVIZOR, IMAGE, Gateway, Stub, gateway
from support.warm_starts import warm_run
from triton_server.install import TritonInstall
from triton_server.server import TritonServer
from tritonclient.utils import InferenceServerException

from avizor.v1 import inference_pb2 as pb
from avizor_inference.arrays import Array

PAGE = "https://a.example"  # the origin of web pages that may call


@dataclass(frozen=True)
class Site:
    """What runs, and the token of each client."""

    door: FrontDoor
    gateway: Gateway
    triton: TritonServer
    tokens: dict[str, str]

    def headers(self, client: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[client]}"}


@pytest.fixture(scope="module")
def site(models: Path, triton_install: TritonInstall, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("door")
    tokens = token_file(folder, free="", limited="models=kinds", paced="rate=1000", slow="rate=0.001")
    with (
        TritonServer(triton_install, models) as triton,
        gateway(models, "--tokens", folder / "tokens", "--alpha", 0.05, "--cors-origin", PAGE) as behind,
        front_door(
            folder,
            triton_8001=triton.grpc_url,
            triton_8000=triton.http_url.removeprefix("http://"),
            gateway_50051=behind.address,
            gateway_8080=behind.http_url.removeprefix("http://"),
        ) as door,
    ):
        yield Site(door, behind, triton, tokens)


@pytest.fixture
def triton_client(site: Site) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    roots = str(site.door.folder / "ca.pem")
    with tritonclient.grpc.InferenceServerClient(site.door.address, ssl=True, root_certificates=roots) as client:
        yield client


def classify(client: tritonclient.grpc.InferenceServerClient, headers: dict[str, str], model: str = "digits") -> float:
    """The sum of the probabilities of a raw tensor."""
    inputs: dict[str, tuple[str, Array]] = {
        "digits": ("image", np.zeros((1, 32, 32, 1), np.uint8)),
        "kinds": ("waveform", np.zeros((1, 4096), np.float32)),
    }
    name, array = inputs[model]
    tensor = tritonclient.grpc.InferInput(name, list(array.shape), "UINT8" if name == "image" else "FP32")
    tensor.set_data_from_numpy(array)
    return float(client.infer(model, [tensor], headers=headers, client_timeout=20).as_numpy("probabilities").sum())


def code(call: Callable[[], object]) -> str:
    with pytest.raises((grpc.RpcError, InferenceServerException)) as caught:
        call()
    error = caught.value
    return str(error.status().removeprefix("StatusCode.") if isinstance(error, InferenceServerException) else error.code().name)


def infer_requests(site: Site) -> float:
    """Calls of ModelInfer that the gateway has answered or refused."""
    return sum(
        value
        for series, value in site.gateway.metrics().items()
        if series.startswith("avizor_requests_total") and "ModelInfer" in series
    )


def test_typed_calls_go_to_the_gateway_and_need_a_token(site: Site) -> None:
    with site.door.channel() as channel:
        request = pb.ClassifyRequest(model="digits", items=[IMAGE])
        metadata = list(site.headers("free").items())
        assert Stub(channel).Classify(request, metadata=metadata, timeout=20).model == "digits"
        for wrong in (None, [("authorization", "Bearer wrong")]):
            assert code(partial(Stub(channel).Classify, request, metadata=wrong, timeout=20)) == "UNAUTHENTICATED"


def test_the_command_of_health_asks_the_gateway_over_tls_and_shows_a_token(site: Site, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(site.tokens["limited"])
    command = [str(AVIZOR), "health", "--target", site.door.address, "--ca", str(site.door.folder / "ca.pem")]
    asked = warm_run([*command, "--token-file", str(tmp_path / "token")])
    assert (asked.returncode, asked.stdout) == (0, "SERVING\n"), asked.stderr
    without = warm_run(command)
    assert (without.returncode, "UNAUTHENTICATED: no valid token" in without.stderr) == (1, True), without.stderr


def test_tensors_of_a_token_without_restrictions_go_straight_to_triton(
    site: Site, triton_client: tritonclient.grpc.InferenceServerClient
) -> None:
    before = infer_requests(site)
    assert classify(triton_client, site.headers("free")) == pytest.approx(1, abs=1e-5)
    assert infer_requests(site) == before


def test_those_of_a_restricted_token_go_to_the_gateway_which_knows_its_models(
    site: Site, triton_client: tritonclient.grpc.InferenceServerClient
) -> None:
    before = infer_requests(site)
    assert classify(triton_client, site.headers("limited"), "kinds") == pytest.approx(1, abs=1e-5)
    assert classify(triton_client, site.headers("paced")) == pytest.approx(1, abs=1e-5)
    assert code(lambda: classify(triton_client, site.headers("limited"))) == "PERMISSION_DENIED"
    assert infer_requests(site) == before + 3


def test_methods_that_change_the_server_are_denied_over_grpc(
    site: Site, triton_client: tritonclient.grpc.InferenceServerClient
) -> None:
    for client in ("free", "limited"):
        headers = site.headers(client)
        for denied in (
            lambda headers=headers: triton_client.unload_model("digits", headers=headers),
            lambda headers=headers: triton_client.load_model("digits", headers=headers),
            lambda headers=headers: triton_client.register_system_shared_memory("x", "/x", 8, headers=headers),
            lambda headers=headers: triton_client.update_trace_settings(None, {"trace_level": ["OFF"]}, headers=headers),
        ):
            assert code(denied) == "PERMISSION_DENIED"


def test_the_rest_form_goes_to_triton_with_json_and_with_binary_tensors(site: Site) -> None:
    door, token = site.door, site.tokens["free"]
    assert door.get("/v2/health/ready", token) == (200, b"")
    assert json.loads(door.get("/v2/models/digits", token)[1])["name"] == "digits"
    body = {"inputs": [{"name": "image", "shape": [1, 32, 32, 1], "datatype": "UINT8", "data": [0] * 1024}]}
    status, answer = door.get("/v2/models/digits/infer", token, data=json.dumps(body).encode(), method="POST")
    assert status == 200
    (probabilities,) = [each for each in json.loads(answer)["outputs"] if each["name"] == "probabilities"]
    assert sum(probabilities["data"]) == pytest.approx(1, abs=1e-5)
    context = {"ca_certs": str(door.folder / "ca.pem")}
    with tritonclient.http.InferenceServerClient(door.address, ssl=True, ssl_options=context) as client:
        tensor = tritonclient.http.InferInput("image", [1, 32, 32, 1], "UINT8")
        tensor.set_data_from_numpy(np.zeros((1, 32, 32, 1), np.uint8), binary_data=True)
        binary = client.infer("digits", [tensor], headers=site.headers("free"))
        assert binary.as_numpy("probabilities").sum() == pytest.approx(1, abs=1e-5)


def test_typed_calls_over_http_go_to_the_gateway_with_its_statuses(site: Site) -> None:
    door, free, limited = site.door, site.tokens["free"], site.tokens["limited"]
    as_file = {"data": IMAGE.image, "headers": {"content-type": "image/png"}}
    status, answer = door.get("/v1/models/digits:classify?top_k=2", free, **as_file)
    assert (status, len(json.loads(answer)["items"][0]["classes"])) == (200, 2)
    body = json.dumps({"model": "digits", "items": [{"image": b64encode(IMAGE.image).decode()}], "topK": 2}).encode()
    as_json = {"data": body, "headers": {"content-type": "application/json"}}
    assert door.get("/avizor.v1.InferenceService/Classify", free, **as_json) == (200, answer)
    assert [each["name"] for each in json.loads(door.get("/v1/models", limited)[1])["models"]] == ["kinds"]
    for path, token, code in (
        ("/v1/models/digits:classify", limited, 403),
        ("/v1/models/none:classify", free, 404),
        ("/v1/models/digits:classify?top_k=-1", free, 400),
        ("/v1/models/digits:classify", "wrong", 401),
    ):
        status, answer = door.get(path, token, **as_file)
        assert (status, status == 401 or "message" in json.loads(answer)) == (code, True), answer
    assert [door.get("/v1/models", site.tokens["slow"])[0] for _ in range(2)] == [200, 429]


def test_tensors_of_a_restricted_token_go_to_the_gateway_over_http_too(site: Site) -> None:
    before = infer_requests(site)
    tensor = {"name": "waveform", "shape": [1, 4096], "datatype": "FP32", "data": [0] * 4096}
    body = {"data": json.dumps({"inputs": [tensor]}).encode(), "method": "POST"}
    for model, code in (("kinds", 200), ("digits", 403)):
        assert site.door.get(f"/v2/models/{model}/infer", site.tokens["limited"], **body)[0] == code
    assert infer_requests(site) == before + 2


def test_a_web_page_that_the_gateway_names_may_call_and_its_browser_asks_for_leave_without_a_token(site: Site) -> None:
    path, origin = "/v1/models/digits:classify", {"origin": PAGE}
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for where in (path, "/avizor.v1.InferenceService/Classify"):
        assert site.door.get(where, method="OPTIONS", headers=origin | asks)[0] == 200
        assert site.door.get(where, method="OPTIONS", headers={"origin": "https://b.example"} | asks)[0] == 403
        assert site.door.get(where, method="OPTIONS")[0] == 401
    assert site.door.get(path, data=IMAGE.image, headers=origin)[0] == 401
    as_page = origin | {"content-type": "image/png"}
    assert site.door.get(path, site.tokens["free"], data=IMAGE.image, headers=as_page)[0] == 200
    others = ("/v2", "/v2/models/digits/infer", "/pushgateway/metrics/job/x", "/", "/v1/../v2", "/v1/%2e%2e/v2")
    for other in (*others, "/inference.GRPCInferenceService/ModelInfer", "/grpc.health.v1.Health/Check"):
        assert site.door.get(other, method="OPTIONS", headers=origin | asks)[0] in (401, 404), other


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/models/digits/unload",
        "/v2/repository/models/digits/load",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/trace/setting",
        "/v2/logging",
        "/v2/models/digits/trace/setting",
        "/v2/models/digits/../../repository/models/digits/unload",
        "/v2/models/digits%2f..%2f..%2frepository%2fmodels%2fdigits%2funload",
        "/v2/repository/models/digits/unload/%2e%2e/%2e%2e/%2e%2e/%2e%2e/models/digits/infer",
        "/v2//repository/models/digits/unload",
        "/V2/repository/models/digits/unload",
    ],
)
def test_what_changes_the_server_is_denied_over_http_however_it_is_written(site: Site, path: str) -> None:
    status, _ = site.door.get(path, site.tokens["free"], data=b"{}", method="POST")
    assert status in (403, 404)
    assert site.door.get("/v2/models/digits/ready", site.tokens["free"])[0] == 200


def test_other_methods_than_those_of_the_protocol_are_denied(site: Site) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        assert site.door.get("/v2/models/digits", site.tokens["free"], method=method)[0] == 403


def test_errors_of_http_have_a_status_and_json(site: Site) -> None:
    for path, token, status, name in (
        ("/v2", "", 401, "UNAUTHENTICATED"),
        ("/v1/models", "wrong", 401, "UNAUTHENTICATED"),
        ("/v2/logging", site.tokens["free"], 403, "PERMISSION_DENIED"),
        ("/metrics", site.tokens["free"], 404, "UNIMPLEMENTED"),
        ("/pushgateway/metrics/job/x", site.tokens["free"], 403, "PERMISSION_DENIED"),  # to read
    ):
        answered, body = site.door.get(path, token)
        assert (answered, json.loads(body)["status"]) == (status, name)
        assert json.loads(body)["error"] == json.loads(body)["message"]


def test_a_restricted_token_may_not_push(site: Site) -> None:
    for client, status in (("limited", 403), ("free", 503)):  # no Pushgateway runs here
        answered, _ = site.door.get("/pushgateway/metrics/job/x", site.tokens[client], data=b"x 1\n", method="PUT")
        assert answered == status


def test_every_answer_has_its_id_also_of_triton_and_of_the_front_door_itself(
    site: Site, triton_client: tritonclient.grpc.InferenceServerClient
) -> None:
    free = site.tokens["free"]
    for path, token in (("/v2", free), ("/v2/models/none", free), ("/v2/models/none/load", free), ("/none", free), ("/v2", "")):
        assert site.door.id_of(path, token, "order-4711") == ["order-4711"]
        (made,) = site.door.id_of(path, token, "not plain")
        assert re.fullmatch("[0-9a-f]{32}", made)
    with site.door.channel() as channel:
        for method, token in (("ServerLive", free), ("ModelMetadata", free), ("RepositoryModelLoad", free), ("ServerLive", "")):
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}").with_call
            metadata = [("authorization", f"Bearer {token}"), ("x-request-id", f"order-{method}")]
            try:
                _, ended = call(b"", metadata=metadata, timeout=20)
            except grpc.RpcError as error:
                ended = error
            told = [*(ended.initial_metadata() or ()), *(ended.trailing_metadata() or ())]
            assert [value for name, value in told if name == "x-request-id"] == [f"order-{method}"]
    assert 'id="order-RepositoryModelLoad"' in site.door.log()


def test_the_log_has_names_and_no_tokens(site: Site) -> None:
    site.door.get("/v2/logging", site.tokens["limited"])
    site.door.get("/v2", "0123456789abcdef")
    log = site.door.log()
    assert 'client="limited" "/v2/logging" http=403' in log
    assert not [token for token in (*site.tokens.values(), "0123456789abcdef") if token in log]
