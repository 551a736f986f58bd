"""Media that costs much more than its size shows, and decoders that are killed or hang, against a real gateway."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from google.rpc.code_pb2 import Code
from integration.gateway import IMAGE, Gateway, gateway, png, wav
from support.media import claimed_png, decoders_of, memory_mib, silence
from support.sounds import tone

from avizor.v1 import inference_pb2 as pb

SOUND = pb.Item(audio=wav(tone(1.0)))
PATIENT = ("--decoders", 2, "--max-wait-s", 60)
LIMITS = (*PATIENT, "--alpha", 0.05, "--max-decoded-mib", 128, "--decoder-memory-mib", 128, "--decode-timeout-s", 20)


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[Gateway]:
    with gateway(models, *LIMITS) as running:
        yield running


@contextlib.contextmanager
def most_memory_of(pid: int) -> Iterator[list[float]]:
    """Yield a list that holds the largest memory of the process and its children in MiB, at the end."""
    most, done = [memory_mib(pid)], threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            most[0] = max(most[0], memory_mib(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def test_files_that_unpack_to_gigabytes_are_refused_and_the_others_are_answered(served: Gateway) -> None:
    """32 MiB of decoded items are one call's, 128 MiB those of all; two decoders may use 128 MiB each."""
    with grpc.insecure_channel(served.address) as channel:
        stub = served.stub(channel)
        long = pb.Item(audio=silence(1800 * 4096))  # 29.5 MB as float32: one of them fits
        slow = pb.Item(audio=wav(np.zeros(8000), rate=1))
        alone = stub.Classify(pb.ClassifyRequest(model="kinds", items=[SOUND])).items[0]
        picture = stub.Classify(pb.ClassifyRequest(model="digits", items=[IMAGE])).items[0]
        stub.Classify(pb.ClassifyRequest(model="kinds", items=[SOUND] * 200))  # what the engine needs for large batches
        idle = memory_mib(served.process.pid)
        with most_memory_of(served.process.pid) as most:
            sounds = stub.Classify(pb.ClassifyRequest(model="kinds", items=[SOUND, *[long] * 24, slow, SOUND])).items
            narrow = pb.Item(image=claimed_png(1, 64_000_000))
            huge = pb.Item(image=claimed_png(8000, 8000, b"\0" * (8000 * 32001), colour=6))
            images = stub.Classify(pb.ClassifyRequest(model="digits", items=[IMAGE, narrow, huge, IMAGE])).items
    for answer in (sounds[0], sounds[-1]):
        assert (answer.error.message, answer.classes[0].label) == ("", alone.classes[0].label)
    assert [answer.classes for answer in (images[0], images[-1])] == [picture.classes] * 2
    refused = [answer.error for answer in sounds[1:-2] if answer.HasField("error")]
    assert len(refused) >= 23
    assert all("decode" in error.message and "fewer items in one request" in error.message for error in refused)
    assert "the header says 1 Hz" in sounds[-2].error.message
    assert "1 x 64000000 pixels; at most 65,535 on a side" in images[1].error.message
    assert "takes more than 128 MiB of memory" in images[2].error.message
    assert {error.code for error in (*refused, sounds[-2].error, images[1].error, images[2].error)} == {Code.INVALID_ARGUMENT}
    # The decoders', the decoded items of this call, and what is made of them: the engine's input, and its answer.
    assert most[0] - idle < 2 * 128 + 3 * 32


def test_a_long_request_does_not_hold_up_a_short_one(served: Gateway) -> None:
    with grpc.insecure_channel(served.address) as channel:
        stub = served.stub(channel)
        many = stub.Classify.future(pb.ClassifyRequest(model="kinds", items=[pb.Item(audio=silence(100 * 4096))] * 256))
        while served.metrics()["avizor_in_flight_requests"] < 1:
            time.sleep(0.001)
        assert stub.Classify(pb.ClassifyRequest(model="kinds", items=[SOUND])).items[0].classes
        assert not many.done()
        many.cancel()


def test_decoders_that_are_killed_under_load_cost_no_call(served: Gateway) -> None:
    with grpc.insecure_channel(served.address) as channel:
        stub = served.stub(channel)
        request = pb.ClassifyRequest(model="kinds", items=[SOUND] * 30)
        wanted = stub.Classify(request).items[0].classes[0].label
        calls = [stub.Classify.future(request) for _ in range(20)]
        for _ in range(3):
            time.sleep(0.2)
            for decoder in decoders_of(served.process.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    decoder.kill()
        for call in calls:
            for answer in call.result().items:
                # One that was killed twice at the same item is taken for an item that kills.
                assert answer.error.code in (Code.OK, Code.INVALID_ARGUMENT), answer.error.message
                assert not answer.classes or answer.classes[0].label == wanted
        assert all(answer.classes for answer in stub.Classify(request).items)
        assert len(decoders_of(served.process.pid)) == 2


def test_tensors_do_not_queue_behind_media(served: Gateway) -> None:
    pixels = np.zeros((32, 32, 1), np.uint8)
    tensor = pb.Item(tensor=pb.Tensor(dtype="uint8", shape=pixels.shape, data=pixels.tobytes()))
    decoders = decoders_of(served.process.pid)
    with grpc.insecure_channel(served.address) as channel:
        stub = served.stub(channel)
        for decoder in decoders:
            decoder.suspend()
        media = [stub.Classify.future(pb.ClassifyRequest(model="digits", items=[IMAGE])) for _ in range(10)]
        try:
            assert stub.Classify(pb.ClassifyRequest(model="digits", items=[tensor]), timeout=15).items[0].classes
            assert not any(call.done() for call in media)
        finally:
            for decoder in decoders:
                decoder.resume()
        assert all(call.result().items[0].classes for call in media)


def test_no_process_is_left_behind_a_gateway(models: Path) -> None:
    with gateway(models, *LIMITS) as running:
        group = os.getpgid(running.process.pid)
        decoders = decoders_of(running.process.pid)
        assert len(decoders) == 2
        assert {os.getpgid(decoder.pid) for decoder in decoders} == {group}
        for decoder in decoders:  # what a service manager does to all processes of a service
            decoder.send_signal(signal.SIGTERM)
        with grpc.insecure_channel(running.address) as channel:
            answer = running.stub(channel).Classify(
                pb.ClassifyRequest(model="digits", items=[pb.Item(image=png(np.zeros((9, 9), np.uint8)))])
            )
        assert answer.items[0].classes
        assert decoders_of(running.process.pid) == decoders
        assert running.stop() == 0
        assert psutil.wait_procs(decoders, timeout=0)[1] == []


def test_a_gateway_that_is_killed_takes_its_decoders_along(models: Path) -> None:
    with gateway(models, *LIMITS) as running:
        decoders = decoders_of(running.process.pid)
        decoders[0].suspend()
        running.process.kill()
        assert psutil.wait_procs(decoders, timeout=30)[1] == []
