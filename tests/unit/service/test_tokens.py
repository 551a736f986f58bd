"""tokens.py: the file of tokens that the front door reads too."""

from __future__ import annotations

from pathlib import Path

import pytest

from avizor_inference.errors import TokenFileError
from avizor_service.tokens import read_tokens


def test_a_file_of_tokens_holds_one_a_line_besides_comments(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text('# who may call\n\n"Bearer sesame" "ali";\n  "Bearer a+b/c=" baba.2;\n')
    assert read_tokens(path) == ("Bearer sesame", "Bearer a+b/c=")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no token, so nobody could call"),
        ("# nothing\n", "holds no token, so nobody could call"),
        ('"Bearer sesame" "ali";\nsesame\n', "line 2: not of the form"),
        ('"Bearer sesame" "ali"\n', "line 1: not of the form"),
        ('"Bearer two words" "ali";\n', "line 1: not of the form"),
        ('"Bearer " "ali";\n', "line 1: not of the form"),
        ('"Basic sesame" "ali";\n', "line 1: not of the form"),
        ('"Bearer señal" "ali";\n', "cannot be read"),
    ],
)
def test_a_file_that_would_let_the_wrong_callers_in_or_nobody_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TokenFileError, match=message):
        read_tokens(path)


def test_a_missing_file_of_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="cannot be read"):
        read_tokens(tmp_path / "tokens")
