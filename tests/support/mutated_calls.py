"""Make calls of which a message, or a file in it, is damaged: the same ones in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

from avizor.v1 import inference_pb2 as pb
from support.every_format import files
from support.mutations import changed, damaged, rewired
from support.valid_calls import Rpc, rpcs, valid_calls


def mutated_calls(seed: int = 0) -> Iterator[tuple[Rpc, list[bytes]]]:
    """Yield valid calls of which one message is damaged, without end."""
    rng = random.Random(seed)
    valid = [(rpc, call) for rpc in rpcs() for call in valid_calls(rpc)]
    while True:
        rpc, call = rng.choice(valid)
        at = rng.randrange(len(call))
        messages = [message.SerializeToString() for message in call]
        kind = rng.random()
        if kind < 0.3:
            messages[at] = changed(call[at], rng).SerializeToString()
        elif kind < 0.6:
            messages[at] = rewired(messages[at], rng)
        else:
            messages[at] = damaged(messages[at], rng)
        yield rpc, messages


def mutated_media(seed: int = 0) -> Iterator[tuple[Rpc, list[bytes]]]:
    """Yield calls that hold one damaged file each, in every format in turn, without end."""
    rng = random.Random(seed)
    by_name = {rpc.name: rpc for rpc in rpcs()}
    takes = {"image": [("Classify", "digits")], "audio": [("Classify", "kinds"), ("DetectAnomaly", "normal")]}
    takes["signal"] = [("DetectAnomaly", "pumps")]
    whole = [(kind, data) for kind, formats in files().items() for data in formats.values()]
    for number in count():
        kind, data = whole[number % len(whole)]
        rpc, model = rng.choice(takes[kind])
        item = pb.Item(source="a")
        setattr(item, kind, damaged(data, rng, most=2))
        yield by_name[rpc], [by_name[rpc].request(model=model, items=[item]).SerializeToString()]
