"""A caller's token is read from a file by the same rules in the client and in the commands, which share no code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avizor_client.errors import InputError
from avizor_client.tokens import Token
from avizor_inference.caller_token import token_in
from avizor_inference.errors import TokenFileError


def read_by_client(content: bytes, path: Path) -> str:
    path.write_bytes(content)
    ((_, value),) = Token(file=path).metadata()
    return value.removeprefix("Bearer ")


@pytest.mark.parametrize("read", [token_in, read_by_client])
@pytest.mark.parametrize(
    "content",
    [
        b"0a1b",
        b" 0a1b\r\n",
        b'"Bearer 0a1b" "ali";\n"Bearer 2c3d" "baba";\n',
        b'# "Bearer 2c3d" "gone";\n  "Bearer 0a1b" "ali models=fan rate=2";\n',
        b'"Bearer 0a1b" ali;',
    ],
)
def test_a_token_stands_alone_or_in_the_form_of_the_gateways_file(
    read: Callable[[bytes, Path], str], content: bytes, tmp_path: Path
) -> None:
    assert read(content, tmp_path / "token") == "0a1b"


@pytest.mark.parametrize("read", [token_in, read_by_client])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"two s3cret",
        b"# s3cret words",
        b'# "Bearer s3cret" "gone";\n',
        b"Bearer s3cret",  # the word is not a part of a token that stands alone
        b'"Bearer s3cret here" "spaces";',
        b'"s3cret"',
        b"s3cret\xc3\xa9",
    ],
)
def test_a_file_without_a_token_is_named_and_its_content_is_not_shown(
    read: Callable[[bytes, Path], str], content: bytes, tmp_path: Path
) -> None:
    with pytest.raises((TokenFileError, InputError)) as caught:
        read(content, tmp_path / "token")
    assert f"{tmp_path / 'token'}: holds no token; write the token alone, or a line as for" in str(caught.value)
    assert "s3cret" not in str(caught.value)
