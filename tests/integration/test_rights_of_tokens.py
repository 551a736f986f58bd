"""What a token may ask for, and how often, holds in every RPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from integration.gateway import IMAGE, Gateway, Stub, gateway, normal, refused

from avizor.v1 import inference_pb2 as pb

TOKENS = """
"Bearer all" "ali";
"Bearer some" "baba models=kinds,tones";
"Bearer slow" "cassim rate=0.01";
"""
DENIED = ("PERMISSION_DENIED", "this token may not call that model; ListModels names those that it may")


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(TOKENS)
    with gateway(models, "--alpha", 0.05, "--tokens", tokens) as running:
        yield running


@pytest.fixture
def stub(served: Gateway) -> Iterator[Stub]:
    with grpc.insecure_channel(served.address) as channel:
        yield served.stub(channel)


def holding(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def monitored(stub: Stub, metadata: list[tuple[str, str]], classifier: str = "", detector: str = "") -> None:
    start = pb.MonitorStart(sample_rate=8000, classifier=classifier, detector=detector)
    list(stub.Monitor(iter([pb.MonitorRequest(start=start)]), metadata=metadata))


# Each asks for an image's or a sound's model with some token.
CALLS: dict[str, Callable[[Stub, list[tuple[str, str]], str], object]] = {
    "GetModel": lambda stub, metadata, model: stub.GetModel(pb.GetModelRequest(name=model), metadata=metadata),
    "Classify": lambda stub, metadata, model: stub.Classify(pb.ClassifyRequest(model=model, items=[IMAGE]), metadata=metadata),
    "DetectAnomaly": lambda stub, metadata, model: stub.DetectAnomaly(
        pb.DetectAnomalyRequest(model=model, items=[pb.Item(audio=normal())]), metadata=metadata
    ),
    "Embed": lambda stub, metadata, model: stub.Embed(pb.EmbedRequest(model=model, items=[IMAGE]), metadata=metadata),
    "Reconstruct": lambda stub, metadata, model: stub.Reconstruct(
        pb.ReconstructRequest(model=model, items=[IMAGE]), metadata=metadata
    ),
    "Explain": lambda stub, metadata, model: stub.Explain(pb.ExplainRequest(model=model, items=[IMAGE]), metadata=metadata),
    "Monitor of a classifier": lambda stub, metadata, model: monitored(stub, metadata, classifier=model),
    "Monitor of a detector": lambda stub, metadata, model: monitored(stub, metadata, detector=model),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("model", ["normal", "digits", "nowhere"])
def test_no_rpc_answers_for_a_model_that_the_token_may_not_ask_for_be_there_one_or_not(
    stub: Stub, call: str, model: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        CALLS[call](stub, holding("some"), model)
    assert refused(caught.value) == DENIED


def test_a_token_is_answered_for_the_models_that_it_may_ask_for_and_sees_no_others(stub: Stub) -> None:
    def listed(token: str) -> list[str]:
        return [model.name for model in stub.ListModels(pb.ListModelsRequest(), metadata=holding(token)).models]

    assert listed("all") == ["digits", "kinds", "normal", "transfers"]
    assert listed("some") == ["kinds"]
    answer = stub.Classify(pb.ClassifyRequest(model="kinds", items=[pb.Item(audio=normal())]), metadata=holding("some"))
    assert len(answer.items) == 1
    assert stub.GetModel(pb.GetModelRequest(name="kinds"), metadata=holding("some")).name == "kinds"
    with pytest.raises(grpc.RpcError) as caught:  # it may ask for it, but there is none
        stub.GetModel(pb.GetModelRequest(name="tones"), metadata=holding("some"))
    assert refused(caught.value)[0] == "NOT_FOUND"


def test_a_token_that_calls_too_often_is_told_when_to_try_again_and_costs_others_nothing(stub: Stub, served: Gateway) -> None:
    stub.ListModels(pb.ListModelsRequest(), metadata=holding("slow"))
    for ask in (CALLS["GetModel"], CALLS["Monitor of a classifier"]):
        with pytest.raises(grpc.RpcError) as caught:
            ask(stub, holding("slow"), "kinds")
        assert refused(caught.value) == (
            "RESOURCE_EXHAUSTED",
            "this token may make 0.01 calls a second, and they are used up; try again later",
        )
        status = Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
        retry = RetryInfo()
        assert status.details[0].Unpack(retry)
        assert 30 < retry.retry_delay.ToSeconds() <= 60
    assert stub.ListModels(pb.ListModelsRequest(), metadata=holding("all")).models
    assert served.metrics()['avizor_rejected_total{reason="rate"}'] == 2
