"""stages.py and progress.py: an export tells which stage runs, and how long each took."""

from __future__ import annotations

import io
import logging
import re
import sys
from pathlib import Path

import click
import pytest
import torch
from torch import nn

from avizor_export import ExportRequest, export_model
from avizor_export.progress import show_stages
from avizor_export.stages import stage
from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import TensorInput


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_a_line_for_each_stage_that_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with show_stages(), stage("translate to ONNX"):
        assert capsys.readouterr().err == ""
    assert re.fullmatch(r"translate to ONNX \.\.\. \d+\.\d s\n", capsys.readouterr().err)


def test_a_terminal_names_the_stage_that_runs_until_the_next_line_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with show_stages(), stage("translate to ONNX"):
        assert terminal.getvalue() == "translate to ONNX ...\r"
        click.echo("Warning: a line that is as long as any warning.", err=True)
    pattern = r"translate to ONNX \.\.\.\rWarning: .*\.\ntranslate to ONNX \.\.\. \d+\.\d s\n"
    assert re.fullmatch(pattern, terminal.getvalue())


def test_short_stages_get_no_line_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with show_stages(least_s=60), stage("read the items"):
        pass
    assert terminal.getvalue() == "read the items ...\r\x1b[K"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ExportError("a fault")])
def test_a_terminal_keeps_the_name_of_the_stage_that_was_interrupted(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | BaseException
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with pytest.raises((KeyboardInterrupt, ExportError)), show_stages(), stage("translate to ONNX"):
        raise error
    assert terminal.getvalue() == "translate to ONNX ...\r\n"


def small_request() -> ExportRequest:
    return ExportRequest("m", "classify", TensorInput(name="x", item_shape=(3,)), labels=["a", "b"])


def test_a_call_from_python_logs_its_stages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "avizor_export.stages")
    export_model(nn.Linear(3, 2), small_request(), tmp_path)
    lines = [record.getMessage() for record in caplog.records if record.name == "avizor_export.stages"]
    name = f"torch {torch.__version__.partition('+')[0]}"
    assert [line.rpartition(" ... ")[0] for line in lines] == [
        "find the network's outputs",
        "translate to ONNX",
        "optimise the graph",
        "check the graph",
        "open it in ONNX Runtime",
        f"compare with {name}: zeros",
        f"compare with {name}: random",
        "write the version",
        "check and publish the version",
    ]


def test_an_interrupt_publishes_nothing(tmp_path: Path) -> None:
    def interrupt(program: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_model(nn.Linear(3, 2), small_request(), tmp_path / "models", simplify=interrupt)
    assert not (tmp_path / "models").exists()
