"""docs/signals.md: its network trains, its commands run unchanged, and its faults are found."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from integration.jobs import query
from support.environment import ROOT
from support.signals import SUFFIXES, vibration, write_signal

from avizor_cli.main import avizor
from avizor_export.networks.input_description import parse_input
from avizor_inference.items.input_spec import SignalFrontEnd, SignalInput
from avizor_inference.items.signals.layout import MOST_UNPACKED

PAGE = (ROOT / "docs" / "signals.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.mark.slow  # trains an autoencoder
def test_the_example_runs_as_it_stands_and_finds_the_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    windows = [vibration(250, seed=seed).T for seed in range(1000, 1200)]
    np.save("train.npy", np.stack(windows))
    for number in range(40):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        write_signal(Path(f"healthy/pump-{number % 2}/{number}{suffix}"), vibration(1100, seed=number))
        if number < 10:
            broken = vibration(1100, seed=200 + number, impulses=number >= 5)
            write_signal(Path(f"new/pump-{number % 2}/{number}{suffix}"), broken)
    exec(block("python"), {})
    for line in block("sh").replace("\\\n", " ").splitlines():
        result = CliRunner().invoke(avizor, [*shlex.split(line)[1:]], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert "conv 1x7" in result.output
    rows = query("select uri, is_anomaly, windows, peak from 'results/recordings/*.parquet'")
    verdicts = {int(Path(uri).stem): is_anomaly for uri, is_anomaly, _, _ in rows}
    assert len(rows) == 10
    assert all(verdicts[number] for number in range(5, 10))
    assert sum(verdicts[number] for number in range(5)) <= 1
    assert all(windows == 5 and peak > 100 for _, _, windows, peak in rows)
    places = query("select distinct channel, start_sample, start_s from 'results/windows/*.parquet' order by 2")
    assert places == [(0, start, None) for start in (0, 250, 500, 750, 850)]


def test_the_short_form_and_the_json_are_the_same_and_every_key_is_explained(tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(block("json"))
    assert parse_input(block("text").strip()) == parse_input(str(tmp_path / "input.json"))
    for model in (SignalInput, SignalFrontEnd):
        assert [
            key for key in model.model_fields if key not in ("modality", "kind", "front_end") and f"`{key}`" not in PAGE
        ] == []
    assert f"{MOST_UNPACKED:,}" in PAGE
