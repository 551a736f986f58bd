"""What a token may ask for, and how often, holds in every RPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from integration.gateway import IMAGE, Gateway, Stub, gateway, normal, refused
from integration.open_inference_cases import infer_request
from tritonclient.grpc import service_pb2, service_pb2_grpc

from avizor.v1 import inference_pb2 as pb

TOKENS = """
"Bearer all" "ali";
"Bearer some" "baba models=kinds,tones";
"Bearer slow" "cassim rate=0.01";
"Bearer rare" "dina rate=0.01";
"""
DENIED = ("PERMISSION_DENIED", "this token may not call that model; ListModels names those that it may")


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(TOKENS)
    with gateway(models, "--alpha", 0.05, "--tokens", tokens) as running:
        yield running


@pytest.fixture
def channel(served: Gateway) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.address) as channel:
        yield channel


@pytest.fixture
def stub(served: Gateway, channel: grpc.Channel) -> Stub:
    return served.stub(channel)


@pytest.fixture
def triton(channel: grpc.Channel) -> service_pb2_grpc.GRPCInferenceServiceStub:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


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


# Those of the Open Inference Protocol that name a model.
OF_A_MODEL = {
    "ModelReady": lambda model: service_pb2.ModelReadyRequest(name=model),
    "ModelMetadata": lambda model: service_pb2.ModelMetadataRequest(name=model),
    "ModelConfig": lambda model: service_pb2.ModelConfigRequest(name=model),
    "ModelStatistics": lambda model: service_pb2.ModelStatisticsRequest(name=model),
    "ModelInfer": lambda model: infer_request(model=model),
}


@pytest.mark.parametrize("rpc", OF_A_MODEL)
@pytest.mark.parametrize("model", ["digits", "nowhere"])
def test_the_open_inference_protocol_denies_the_same_models(
    triton: service_pb2_grpc.GRPCInferenceServiceStub, rpc: str, model: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(triton, rpc)(OF_A_MODEL[rpc](model), metadata=holding("some"))
    assert refused(caught.value) == DENIED
    if model == "digits":
        getattr(triton, rpc)(OF_A_MODEL[rpc](model), metadata=holding("all"))


def test_each_request_of_a_stream_is_denied_or_answered_by_itself(triton: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    requests = [infer_request(model="digits"), infer_request(model="nowhere")]
    answers = triton.ModelStreamInfer(iter(requests), metadata=holding("some"))
    assert [answer.error_message for answer in answers] == [DENIED[1]] * 2


def test_index_and_statistics_leave_out_what_a_token_may_not_ask_for(
    triton: service_pb2_grpc.GRPCInferenceServiceStub,
) -> None:
    def shown(token: str) -> tuple[list[str], list[str]]:
        index = triton.RepositoryIndex(service_pb2.RepositoryIndexRequest(), metadata=holding(token)).models
        statistics = triton.ModelStatistics(service_pb2.ModelStatisticsRequest(), metadata=holding(token)).model_stats
        return [each.name for each in index], [each.name for each in statistics]

    assert shown("all") == (["digits", "kinds", "normal", "transfers"],) * 2
    assert shown("some") == (["kinds"],) * 2


def test_each_request_of_a_stream_counts_in_the_rate_of_its_token(triton: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    requests = [infer_request(model="digits") for _ in range(4)]
    answers = list(triton.ModelStreamInfer(iter(requests), metadata=holding("rare")))
    # The stream itself is the only call that the token has for now.
    assert {answer.error_message for answer in answers} == {
        "this token may make 0.01 calls a second, and they are used up; try again later"
    }
    assert len(answers) == len(requests)
