"""Lines of the commands give a terminal no orders, whatever the names of files and classes have in them."""

from __future__ import annotations

import pytest

from avizor_pipeline.cli.neighbours import _cells
from avizor_pipeline.cli.verify import _print
from avizor_pipeline.known_files import Changes
from avizor_pipeline.plan import Plan
from avizor_pipeline.projection.similar import Neighbour
from avizor_pipeline.reporting.plan_lines import change_lines
from avizor_pipeline.sinks.output_files import output_path
from avizor_pipeline.verify import Proof

NAME, SHOWN = "a\x1b[31m.wav", "a\\x1b[31m.wav"


def test_files_that_have_gone_are_named_as_they_can_be_printed() -> None:
    changes = Changes()
    changes.gone.add(NAME)
    plan = Plan(1, {}, rounds=[output_path("rounds/000001.parquet")], changes=changes)
    assert list(change_lines(plan, redo=False))[-1] == f"1 file is gone; what the tables have of it stays: {SHOWN}"


def test_what_is_wrong_with_results_is_printed_so(capsys: pytest.CaptureFixture[str]) -> None:
    proof = Proof(out="out")
    proof.note(f"{NAME} is a dead letter, and not planned")
    _print(proof)
    assert capsys.readouterr().err == f"wrong: {SHOWN} is a dead letter, and not planned\n"


def test_neighbours_are_printed_so() -> None:
    nothing = dict.fromkeys(("channel", "start_s", "score", "is_anomaly"))
    found = Neighbour(uri=NAME, source=NAME, label=NAME, probability=0.5, distance=1.0, **nothing)
    assert _cells(found) == ["1.0000", f"{SHOWN} 0.50", "-", SHOWN, "-", SHOWN]
