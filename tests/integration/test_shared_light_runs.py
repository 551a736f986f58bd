"""A gateway under load lets calls for a light model share runs, and each gets its own answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from integration.gateway import gateway
from support.lookup_model import ITEMS, lookup_items, write_lookup
from tritonclient.grpc import service_pb2 as triton
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

CALLERS, ROUNDS = 24, 100


def request_for(index: int) -> triton.ModelInferRequest:
    request = triton.ModelInferRequest(model_name="lookup", raw_input_contents=[lookup_items(index).tobytes()])
    request.inputs.add(name="input", datatype="INT64", shape=[1, 2])
    request.outputs.add(name="probabilities")
    return request


async def call_often(stub: GRPCInferenceServiceStub, caller: int) -> list[str]:
    """Return what was wrong with the answers to a caller, of whose calls some are bad and some are given up."""
    wrong = []
    for turn in range(ROUNDS):
        index = (caller * 7 + turn) % ITEMS
        calling = stub.ModelInfer(request_for(index + (ITEMS if turn % 20 == 19 else 0)), timeout=30)
        if turn % 20 == 9:
            await asyncio.sleep(0.002)
            calling.cancel()
        try:
            (found,) = memoryview((await calling).raw_output_contents[0]).cast("f")
            if turn % 20 == 19 or found != index:
                wrong.append(f"{index} at {turn}: {found}")
        except asyncio.CancelledError:
            if turn % 20 != 9:
                raise
        except grpc.aio.AioRpcError as error:
            if turn % 20 != 19:
                wrong.append(f"{index} at {turn}: {error.code()} {error.details()}")
    return wrong


async def wrong_answers(address: str) -> list[str]:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        of_each = await asyncio.gather(*(call_often(stub, caller) for caller in range(CALLERS)))
        return [found for wrong in of_each for found in wrong]


@pytest.mark.parametrize(("delay_us", "shared"), [(500, True), (0, False)])
def test_each_of_many_callers_gets_its_own_answer(tmp_path: Path, delay_us: int, shared: bool) -> None:
    write_lookup(tmp_path, f"dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}")
    with gateway(tmp_path, "--engine", "ort", "--device", "cpu") as running:
        assert asyncio.run(wrong_answers(running.address)) == []
        running.wait_until_idle()
        with grpc.insecure_channel(running.address) as channel:
            found = (
                GRPCInferenceServiceStub(channel).ModelStatistics(triton.ModelStatisticsRequest(name="lookup")).model_stats[0]
            )
    good = CALLERS * ROUNDS * 18 // 20
    assert good <= found.inference_stats.success.count <= found.inference_count <= CALLERS * ROUNDS * 19 // 20 + 10
    if shared:
        assert found.execution_count < 0.8 * found.inference_count
