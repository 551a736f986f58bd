"""docs/tutorial.md: its commands run as they are, in order; a test answers in a person's place. The demo has its own test."""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from integration.gateway import AVIZOR
from integration.jobs import query
from support.environment import ROOT
from support.shown_commands import run_shown

from avizor_inference.review_answers import Answer, AnswerFile, Word

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
REVIEW = "## Look, listen, answer"
LEFT_OUT = re.compile(r"make demo")


def review(folder: Path) -> None:
    """Start the page as the tutorial says, and answer all that is flagged: the names of the files say what is right."""
    (command,) = re.findall(r"^```sh\n(avizor review .*)\n```", PAGE, re.MULTILINE)
    arguments = [str(AVIZOR), *command.split()[1:], "--port", "0"]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout
            url = re.search(r"http://\S+", page.stdout.readline())
            assert url
            with urllib.request.urlopen(url[0], timeout=60) as answer:
                assert b"my-sound" in answer.read()
        finally:
            page.terminate()
    flagged = query(f"select uri from '{folder}/results/recordings/*.parquet' where is_anomaly")
    assert flagged
    answers = AnswerFile(folder / "results" / "answers.jsonl")
    for (uri,) in flagged:
        word: Word = "normal" if Path(uri).name.startswith("normal") else "abnormal"
        answers.append(Answer(uri=uri, model="my-sound", answer=word, reviewer="tests", time=datetime.now(UTC)))


@pytest.mark.slow
def test_the_tutorial(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    before, after = PAGE.split(REVIEW)
    environment = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PYTHONWARNINGS": "ignore"}
    run_shown(before, tmp_path, environment, timeout_s=900, left_out=LEFT_OUT)
    review(tmp_path)
    run_shown(after, tmp_path, environment, timeout_s=300)
    assert (tmp_path / "report.html").stat().st_size < 20 << 20
