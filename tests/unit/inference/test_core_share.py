"""core_share.py: how many runs go on at once, and with how many threads."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.lookup_model import write_lookup

from avizor_inference.engines.core_share import CoreShare, core_share
from avizor_inference.engines.ort_session import open_session
from avizor_inference.repository.triton_config import parse_config
from avizor_inference.this_machine import usable_cores

CORES = usable_cores()


def threads(number: int) -> str:
    return f'parameters [ {{ key: "intra_op_thread_count", value: {{ string_value: "{number}" }} }} ]'


@pytest.mark.parametrize(
    ("fields", "on_gpu", "expected"),
    [
        ("", False, CoreShare(CORES, 1)),
        ("instance_group [ { kind: KIND_AUTO, count: 1 } ]", False, CoreShare(CORES, 1)),
        (threads(1), False, CoreShare(CORES, 1)),
        (threads(CORES), False, CoreShare(1, CORES)),
        (threads(CORES + 1), False, CoreShare(1, CORES + 1)),
        (threads(3) + "instance_group [ { count: 2 } ]", False, CoreShare(2, 3)),
        (f"instance_group [ {{ count: {2 * CORES} }} ]", False, CoreShare(2 * CORES, 1)),
        ("instance_group [ { count: 2 }, { count: 1 } ]", True, CoreShare(3, 0)),
        ("", True, CoreShare(1, 0)),
    ],
)
def test_the_configuration_is_followed_and_else_each_core_has_a_run(fields: str, on_gpu: bool, expected: CoreShare) -> None:
    assert core_share(parse_config(fields, "test"), on_gpu=on_gpu) == expected


@pytest.mark.parametrize(("spinning", "expected"), [(True, False), (False, True)])
def test_waiting_threads_sleep_where_they_would_cost_others(tmp_path: Path, spinning: bool, expected: bool) -> None:
    write_lookup(tmp_path, "")
    graph = tmp_path / "lookup" / "1" / "model.onnx"
    options = open_session(graph, "it", threads=2, spinning=spinning).get_session_options()
    try:
        value = options.get_session_config_entry("session.intra_op.allow_spinning")
    except RuntimeError:
        value = "1"  # ONNX Runtime's default
    assert (value == "0") == expected
