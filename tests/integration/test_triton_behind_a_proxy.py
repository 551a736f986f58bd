"""What a proxy before Triton ends, or changes, is an outage: callers may try again, and a batch job waits and loses no file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from integration.gateway import IMAGE, gateway, refused
from support.grpc_proxy import Proxy, proxy
from support.sounds import tone
from tritonclient.grpc import service_pb2

from avizor.v1 import inference_pb2 as pb
from avizor_inference.engines.triton import TritonEngine
from avizor_inference.errors import EngineUnavailable
from avizor_pipeline.batching import Batcher
from avizor_pipeline.engine_wait import EngineWait
from avizor_pipeline.model_groups import ModelGroup
from avizor_pipeline.models import open_models
from avizor_pipeline.request import JobRequest

ENDED = [(grpc.StatusCode[code], "the proxy is reloaded") for code in ("CANCELLED", "ABORTED", "RESOURCE_EXHAUSTED")]
ROWS = [tone(4096 / 8000, seed=seed, hz=200 + 100 * seed) for seed in range(6)]


@pytest.fixture
def between(triton_address: str) -> Iterator[Proxy]:
    with proxy(triton_address) as running:
        yield running


def of_another_model(answer: bytes) -> bytes:
    """The answer, with one column less in each output."""
    message = service_pb2.ModelInferResponse.FromString(answer)
    for place, output in enumerate(message.outputs):
        output.shape[-1] -= 1
        message.raw_output_contents[place] = bytes(4 * int(np.prod(output.shape)))
    return bytes(message.SerializeToString())


def test_a_caller_of_the_gateway_is_told_to_try_again(between: Proxy, models: Path) -> None:
    request = pb.ClassifyRequest(model="digits", items=[IMAGE])
    with (
        gateway(models, "--alpha", 0.05, "--engine", f"triton://{between.address}") as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub, between.with_id = running.stub(channel), True
        expected = stub.Classify(request)

        def failed() -> str:
            with pytest.raises(grpc.RpcError) as caught:
                stub.Classify(request)
            code, text = refused(caught.value)
            assert code == "UNAVAILABLE"
            assert stub.Classify(request) == expected
            return text

        for code, text in ENDED:
            between.failures.append((code, text))
            assert f"ended a request to model 'digits': {code.name}: {text}" in failed()
        between.changed.append(of_another_model)
        assert "output 'probabilities' is FP32[1, 9], and was to be FP32[1, 10]" in failed()
        between.changed.append(lambda _answer: b"\xff")
        assert "what is no message of Triton's protocol" in failed()
        between.failures.append((grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'image'"))
        assert "another model was loaded under its name" in failed()


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_job_waits_and_has_the_rows_that_it_has_without_a_failure(between: Proxy, models: Path, in_flight: int) -> None:
    (model,) = open_models(JobRequest(("data",), ("normal",), models, batch_size=2).to_settings())

    def scores(wait_s: float) -> list[float]:
        with TritonEngine(between.address) as engine:
            batcher: Batcher[int] = Batcher(ModelGroup(engine, (model,)), in_flight, EngineWait(wait_s))
            batches = [batch for number, row in enumerate(ROWS) for batch in batcher.push(number, row)]
            batches += batcher.finish()
        assert not [batch.error for batch in batches if batch.error]
        assert [key for batch in batches for key in batch.keys] == list(range(len(ROWS)))
        return [float(score) for batch in batches for score in np.ravel(batch.outputs[0])]

    expected = scores(0)
    between.failures += [*ENDED, (grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'waveform'")]
    between.changed += [of_another_model, lambda _answer: b"\xff"]
    assert scores(60) == pytest.approx(expected)
    assert not between.failures + between.changed
    between.changed += [of_another_model] * 100
    with pytest.raises(EngineUnavailable, match=r"and was to be FP32.*that lasted 1 s .* kept: mend that, and run"):
        scores(1)
