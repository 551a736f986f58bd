"""docs/open-inference.md: its Python runs as it is, and its table has every RPC that is served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from integration.gateway import gateway
from integration.open_inference_cases import CASES
from support.environment import ROOT
from tritonclient.grpc import service_pb2

PAGE = (ROOT / "docs" / "open-inference.md").read_text(encoding="utf-8")


def test_the_example_runs(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with gateway(models, "--alpha", 0.05) as running:
        assert block.count("127.0.0.1:50051") == 1
        exec(block.replace("127.0.0.1:50051", running.address), {})
    assert re.match(r"\(1, 10\)\n\[\[b'0\.\d+:(\d):\1' b'0\.\d+:(\d):\2'\]\]\n$", capsys.readouterr().out)


def test_the_table_and_the_number_of_cases_are_true() -> None:
    table = PAGE.partition("| RPC | answer |")[2].partition("\n\n")[0]
    named = {name for cell in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    rpcs = {method.name for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert named == {rpc for rpc in rpcs if not re.search("Load|Unload|SharedMemory|Setting", rpc)}
    assert f"has {len(CASES)} of them" in PAGE
