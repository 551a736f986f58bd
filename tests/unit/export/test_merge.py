"""The three-way merge of configurations: what a person changed is kept, wherever in the message it stands."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.triton_config.merge import merge

BASE = """
    name: "m"
    max_batch_size: 64
    instance_group [ { kind: KIND_GPU, count: 1 } ]
    dynamic_batching { max_queue_delay_microseconds: 500 }
    model_warmup [ { name: "one", batch_size: 1 }, { name: "all", batch_size: 64 } ]
    parameters [ { key: "digest_1", value: { string_value: "a" } } ]
    optimization {
        execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" parameters { key: "a" value: "1" } } ] }
    }
"""


def config(text: str) -> ModelConfig:
    return text_format.Parse(text, ModelConfig())


def changed(*replacements: tuple[str, str]) -> ModelConfig:
    text = BASE
    for before, after in replacements:
        assert before in text
        text = text.replace(before, after, 1)
    return config(text)


GPUS = ("kind: KIND_GPU", "kind: KIND_GPU, gpus: [ 0, 1 ]")
COUNT = ("count: 1", "count: 3")
PRIORITIES = ("dynamic_batching {", "dynamic_batching { priority_levels: 2")
DELAY = ("microseconds: 500", "microseconds: 7")
PARAMETER = ('name: "tensorrt"', 'name: "tensorrt" parameters { key: "b" value: "2" }')
OTHER_PARAMETER = ('value: "1"', 'value: "9"')
DIGEST = (
    'parameters [ { key: "digest_1", value: { string_value: "a" } }',
    'parameters [ { key: "digest_2", value: { string_value: "b" } }',
)
ARENA = ("parameters [ {", 'parameters [ { key: "arena", value: { string_value: "0" } }, {')
POLICY = ("max_batch_size: 64", "max_batch_size: 64 version_policy { specific { versions: [ 1, 2 ] } }")
NO_BATCHING = ("dynamic_batching { max_queue_delay_microseconds: 500 }", "")
NO_NAME = ('name: "m"', "")
GRAPH = ("optimization {", "optimization { graph { level: 1 }")
WARMUP = ("model_warmup [", 'model_warmup [ { name: "mine", batch_size: 3 },')
LARGEST = ('"all", batch_size: 64', '"all", batch_size: 8')


@pytest.mark.parametrize("by_hand", [GPUS, PRIORITIES, PARAMETER, ARENA, POLICY, NO_BATCHING, NO_NAME, GRAPH, WARMUP])
def test_what_only_one_side_changed_is_taken(by_hand: tuple[str, str]) -> None:
    base, edited = config(BASE), changed(by_hand)
    assert merge(base, edited, base) == (edited, [])
    assert merge(base, base, edited) == (edited, [])
    assert merge(base, edited, edited) == (edited, [])


@pytest.mark.parametrize(
    ("by_hand", "now"),
    [
        (GPUS, COUNT),
        (PRIORITIES, DELAY),
        (PARAMETER, OTHER_PARAMETER),
        (ARENA, DIGEST),
        (GRAPH, OTHER_PARAMETER),
        (POLICY, LARGEST),
        (NO_BATCHING, DIGEST),
    ],
)
def test_changes_of_both_sides_are_joined(by_hand: tuple[str, str], now: tuple[str, str]) -> None:
    merged, replaced = merge(config(BASE), changed(by_hand), changed(now))
    assert (merged, replaced) == (changed(now, by_hand), [])


@pytest.mark.parametrize(
    ("by_hand", "now", "field"),
    [
        (("microseconds: 500", "microseconds: 9"), DELAY, "dynamic_batching.max_queue_delay_microseconds"),
        (WARMUP, LARGEST, "model_warmup"),
        (("count: 1", "count: 2"), COUNT, "instance_group[0].count"),
        (NO_BATCHING, DELAY, "dynamic_batching"),
        (("digest_1", "digest_3"), DIGEST, ""),
    ],
)
def test_where_both_sides_changed_one_field_the_new_value_is_taken_and_that_is_said(
    by_hand: tuple[str, str], now: tuple[str, str], field: str
) -> None:
    merged, replaced = merge(config(BASE), changed(by_hand), changed(now))
    assert replaced == ([field] if field else [])
    if field:
        assert merged == changed(now)


def test_what_is_no_longer_there_takes_its_edits_along_and_that_is_said() -> None:
    now = config(BASE)
    now.ClearField("optimization")
    assert merge(config(BASE), changed(PARAMETER), now) == (now, ["optimization"])


SEQUENCES = (
    "dynamic_batching { max_queue_delay_microseconds: 500 }",
    "sequence_batching { max_sequence_idle_microseconds: 9 }",
)
POLICY_OF_TWO = ("max_batch_size: 64", "max_batch_size: 64 version_policy { latest { num_versions: 2 } }")


def test_a_oneof_is_one_value() -> None:
    assert merge(config(BASE), changed(SEQUENCES), changed(DIGEST)) == (changed(SEQUENCES, DIGEST), [])
    assert merge(config(BASE), changed(DIGEST), changed(SEQUENCES)) == (changed(SEQUENCES, DIGEST), [])
    assert merge(config(BASE), changed(SEQUENCES), changed(DELAY)) == (changed(DELAY), ["scheduling_choice"])
    assert merge(config(BASE), changed(POLICY), changed(POLICY_OF_TWO)) == (
        changed(POLICY_OF_TWO),
        ["version_policy.policy_choice"],
    )
