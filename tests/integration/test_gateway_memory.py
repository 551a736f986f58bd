"""The memory of a gateway has a ceiling (docs/limits.md): a real process, driven to its worst case by many clients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from integration import hostile
from integration.gateway import gateway
from integration.hostile import CHECK, CLASSIFY, MIB, RECONSTRUCT, Client, turns
from integration.memory import Peak, wide, with_wide_model

from avizor.v1 import inference_pb2 as pb

# Limits of the gateway that is driven.
MESSAGE, REQUESTS, CALLS, CONNECTIONS, ANSWER, DECODED, DECODERS, STREAMS = 4, 32, 24, 16, 8, 64, 1, 4
OPTIONS = {
    "--max-message-mib": MESSAGE,
    "--max-request-mib-in-flight": REQUESTS,
    "--max-in-flight": CALLS,
    "--max-connections": CONNECTIONS + 1,
    "--max-answer-mib": ANSWER,
    "--max-decoded-mib": DECODED,
    "--decoders": DECODERS,
    "--max-streams": STREAMS,
    "--max-windows": 1_000_000,
}

# What docs/limits.md says it may need, in MiB, besides the idle process.
TERMS = {
    "requests": 2.5 * REQUESTS,
    "message": 8 * MESSAGE,
    "answer": 10 * ANSWER,
    "connections": CONNECTIONS / 4,
    "calls": CALLS * 0.75,
    "unseen": 80,
    "decoded": 5 * DECODED,
    "decoders": DECODERS * DECODED / 4,
    "streams": STREAMS * (MESSAGE + 1),
    "allocator": 32,
}
LARGEST = MESSAGE * MIB


@pytest.fixture(scope="module")
def repository(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models, and one whose outputs are large and take their time."""
    return with_wide_model(models, tmp_path_factory.mktemp("memory") / "models", MESSAGE - 1)


def messages() -> list[Client]:
    bomb = bytes(16 * LARGEST)  # 64 kB when it is compressed
    over = bytes((MESSAGE + 1) * MIB - 16)
    kinds = (
        hostile.unary(CLASSIFY, hostile.pictures(LARGEST)),
        hostile.unary(CLASSIFY, bomb, compression=grpc.Compression.Gzip),
        hostile.unary(CLASSIFY, bomb),  # more than gRPC receives
        hostile.unary(CLASSIFY, over),
        hostile.half(CLASSIFY, len(over)),
    )
    return turns(*kinds, count=CONNECTIONS)


def parts() -> list[Client]:
    small = hostile.unread(CLASSIFY, hostile.nested(8 << 10), CALLS)
    large = hostile.unread(CLASSIFY, hostile.nested(90_000), CALLS)
    return turns(small, large, hostile.unary(CLASSIFY, hostile.nested(LARGEST)), count=CONNECTIONS)


def refused() -> list[Client]:
    """Nothing of a call that was refused may stay until a full collection."""
    unknown = pb.ClassifyRequest(model="none", items=[pb.Item(image=bytes(LARGEST - 64))]).SerializeToString()
    return turns(hostile.unary(CLASSIFY, unknown), hostile.unary(CLASSIFY, hostile.nested(LARGEST)), count=CONNECTIONS)


def small_parts() -> list[Client]:
    return turns(hostile.unary(CLASSIFY, hostile.nested(8 << 10)), count=CONNECTIONS)


def decoded() -> list[Client]:
    silence = [hostile.unary(RECONSTRUCT, hostile.silence("normal", seconds)) for seconds in (220, 20)]
    return turns(*silence, hostile.unary(RECONSTRUCT, wide_request()), count=CONNECTIONS)


def unread() -> list[Client]:
    return turns(hostile.unread(RECONSTRUCT, wide_request(), CALLS), count=2)


def wide_request() -> bytes:
    """Return a request whose answer is as large as itself."""
    return wide(MESSAGE - 1).SerializeToString()


def streams() -> list[Client]:
    return turns(hostile.talk(LARGEST), count=STREAMS + 1)


def health() -> list[Client]:
    over = bytes((MESSAGE + 1) * MIB - 16)
    return turns(hostile.watch(CONNECTIONS), hostile.unary(CHECK, over), hostile.half(CHECK, len(over)), count=CONNECTIONS)


def everything() -> list[Client]:
    kinds = (messages, parts, decoded, unread, streams, health)
    one_of_each = [client for kind in kinds for client in kind()[:5]]
    return one_of_each[:: len(one_of_each) // CONNECTIONS][:CONNECTIONS]


# What shows that the worst case was met.
REACHED = {unread: ("avizor_in_flight_requests", REQUESTS / (2 * MESSAGE)), streams: ("avizor_streams", STREAMS)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clients", "terms"),
    [
        (messages, {"requests", "message", "connections", "calls", "allocator"}),
        (parts, {"requests", "message", "connections", "calls", "allocator"}),
        (refused, {"requests", "message", "connections", "calls", "allocator"}),
        (small_parts, {"message", "connections", "calls", "allocator"}),
        (decoded, {"decoded", "decoders", "answer", "requests", "calls", "allocator"}),
        (unread, {"decoded", "decoders", "answer", "requests", "calls", "allocator"}),
        (streams, {"streams", "message", "connections", "allocator"}),
        (health, {"requests", "message", "connections", "calls", "allocator"}),
        (everything, set(TERMS)),
    ],
)
def test_memory_stays_below_its_ceiling_whatever_is_sent(
    repository: Path, clients: Callable[[], list[Client]], terms: set[str]
) -> None:
    options = [part for option in OPTIONS.items() for part in option]
    with gateway(repository, "--alpha", 0.05, *options) as running:
        large = [("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(running.address, large) as channel:  # what is done once is idle memory
            channel.unary_unary(CLASSIFY)(hostile.pictures(LARGEST), timeout=60)
            channel.unary_unary(RECONSTRUCT)(hostile.silence("normal", 10), timeout=60)
            both = [channel.unary_unary(RECONSTRUCT).future(wide_request(), timeout=60) for _ in range(2)]
            assert all(each.result() for each in both)  # as many at once as the model runs on two cores
        peak = Peak(running.process.pid)
        with peak.watched():
            codes, at_work = hostile.attack(running.address, clients(), 6, running.metrics)
        ceiling = sum(TERMS[term] for term in terms)
        print(
            clients.__name__,
            f"idle {peak.idle / MIB:.0f}, growth {peak.growth_mib:.0f} of {ceiling:.0f} MiB",
            dict(codes),
            {name: at_work[name] for name in ("avizor_in_flight_requests", "avizor_streams")},
        )
        assert peak.growth_mib < ceiling
        assert running.process.poll() is None
        running.wait_until_idle()  # nothing of it is left
        metric, least = REACHED.get(clients, ("avizor_in_flight_requests", 0))
        assert at_work[metric] >= least
