"""Sound goes in at the front door, and an alert arrives at the webhook. Needs real containers; see `make test-stack`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from stack.compose import GPU, Stack
from tritonclient.utils import InferenceServerException

from avizor.v1 import inference_pb2 as pb
from avizor.v1 import inference_pb2_grpc

pytestmark = pytest.mark.stack

PER_SECOND = 2.0
ALERT_WITHIN_S = 300.0


def anomalies(running: Stack) -> list[dict[str, Any]]:
    """The webhook's alerts on sources."""
    return [alert for alert in running.alerts() if alert["labels"]["alertname"].startswith("AvizorAnomaly")]


def verdict(running: Stack, channel: grpc.Channel, path: Path) -> pb.Verdict:
    item = pb.Item(source=path.parent.name, audio=path.read_bytes())
    request = pb.DetectAnomalyRequest(model="machine-sound", items=[item])
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    answer: pb.Verdict = stub.DetectAnomaly(request, metadata=[("authorization", running.token)], timeout=20).items[0]
    assert not answer.error.message, answer.error.message
    return answer


def test_only_callers_with_a_token_come_in(running: Stack) -> None:
    with running.channel() as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        for metadata in (None, [("authorization", "Bearer wrong")]):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListModels(pb.ListModelsRequest(), metadata=metadata, timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        listed = stub.ListModels(pb.ListModelsRequest(), metadata=[("authorization", running.token)], timeout=20)
        assert [model.name for model in listed.models] == ["cached", "machine-sound", "machine-type"]


def triton_client(running: Stack) -> tritonclient.grpc.InferenceServerClient:
    return tritonclient.grpc.InferenceServerClient(running.front, ssl=True, root_certificates=str(running.certificate))


def classify_raw(running: Stack, client: tritonclient.grpc.InferenceServerClient) -> np.ndarray:
    tensor = tritonclient.grpc.InferInput("waveform", [1, 33280], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 33280), np.float32))
    answer = client.infer("machine-type", [tensor], headers={"authorization": running.token}, client_timeout=20)
    return np.asarray(answer.as_numpy("probabilities"))


def test_tritonclient_through_the_front_door(running: Stack) -> None:
    client, headers = triton_client(running), {"authorization": running.token}
    assert client.is_server_ready(headers=headers)
    assert client.get_model_metadata("machine-type", headers=headers).inputs[0].name == "waveform"
    np.testing.assert_allclose(classify_raw(running, client).sum(), 1.0, atol=1e-5)
    for denied in (
        lambda: client.load_model("machine-type", headers=headers),
        lambda: client.unload_model("machine-type", headers=headers),
        lambda: client.register_system_shared_memory("x", "/x", 8, headers=headers),
        lambda: client.update_log_settings({"log_info": False}, headers=headers),
    ):
        with pytest.raises(InferenceServerException) as caught:
            denied()
        assert caught.value.status() == "StatusCode.PERMISSION_DENIED"
    with pytest.raises(InferenceServerException) as caught:
        client.is_server_ready()
    assert caught.value.status() == "StatusCode.UNAUTHENTICATED"


def test_an_item_seen_before_is_answered_from_the_cache(running: Stack) -> None:
    tensor = pb.Tensor(dtype="uint8", shape=[32, 32, 1], data=bytes([77] * 32 * 32))
    request = pb.ClassifyRequest(model="cached", items=[pb.Item(tensor=tensor)], top_k=10)
    metadata = [("authorization", running.token)]

    def statistics() -> Any:
        (model,) = triton_client(running).get_inference_statistics("cached", headers=dict(metadata)).model_stats
        return model.inference_stats

    with running.channel() as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        first = stub.Classify(request, metadata=metadata, timeout=20)
        before = statistics()  # the version's probe items are in the cache too
        again = stub.Classify(request, metadata=metadata, timeout=20)
    assert not first.items[0].error.message, first.items[0].error.message
    assert first == again
    after = statistics()
    assert after.cache_hit.count == before.cache_hit.count + 1
    assert after.cache_miss.count == before.cache_miss.count


def test_a_new_volume_for_engines_is_given_to_triton(running: Stack) -> None:
    write = ("--user", "1000:1000", "--entrypoint", "touch", "tensorrt-engines", "/var/cache/avizor-tensorrt/engine")
    with pytest.raises(AssertionError, match="Permission denied"):
        running.compose(*GPU, "run", "-T", "--rm", *write)
    for _ in range(2):  # the second start finds it given away
        running.compose(*GPU, "run", "-T", "--rm", "tensorrt-engines")
    running.compose(*GPU, "run", "-T", "--rm", *write)


def test_a_faulty_machine_raises_an_alert_and_healthy_ones_do_not(running: Stack, machines: Path) -> None:
    test = machines / "sounds" / "test"
    with running.channel() as channel:
        machines_in_turn = zip(*(sorted(machine.glob("normal_*")) for machine in sorted(test.glob("*-*"))), strict=True)
        healthy = [path for turn in machines_in_turn for path in turn][:120]
        flagged = sum(verdict(running, channel, path).is_anomaly for path in _paced(healthy))
        print(f"\nhealthy stream: {flagged} of {len(healthy)} flagged")
        time.sleep(15)  # a scrape, an evaluation, a notification
        assert anomalies(running) == []

        faulty = itertools.cycle(sorted(path for path in (test / "fan-1").glob("*.wav") if not path.name.startswith("normal")))
        started = time.monotonic()
        sent = flagged = 0
        for path in _paced(faulty):
            flagged += verdict(running, channel, path).is_anomaly
            sent += 1
            found = [alert for alert in anomalies(running) if alert["status"] == "firing"] if sent % 10 == 0 else []
            if found:
                break
            assert time.monotonic() - started < ALERT_WITHIN_S, f"no alert after {sent} faulty items, {flagged} flagged"
        seconds = time.monotonic() - started
        print(f"the alert reached the webhook {seconds:.0f} s after the fault began: {flagged} of {sent} flagged")
        assert {(alert["labels"]["alertname"], alert["labels"]["source"]) for alert in found} == {
            ("AvizorAnomalyBudgetBurn", "fan-1")
        }
        print(found[0]["annotations"]["description"])


def test_triton_comes_back_under_the_front_door(running: Stack) -> None:
    client = triton_client(running)
    before = classify_raw(running, client)
    running.compose("restart", "-t", "5", "triton")
    deadline = time.monotonic() + 60
    while True:
        try:
            np.testing.assert_allclose(classify_raw(running, client), before, atol=1e-5)
            break
        except InferenceServerException:
            assert time.monotonic() < deadline, "Triton did not come back"
            time.sleep(1)


def _paced(paths: Iterator[Path] | list[Path]) -> Iterator[Path]:
    """A few items a second."""
    for path in paths:
        started = time.monotonic()
        yield path
        time.sleep(max(0.0, 1 / PER_SECOND - (time.monotonic() - started)))
