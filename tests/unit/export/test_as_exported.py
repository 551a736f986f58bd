"""The line of config.pbtxt that holds what was exported: read wherever it stands, and never in the way."""

from __future__ import annotations

import base64
import zlib

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.triton_config.as_exported import split_base, with_base

TEXT = 'name: "m"  # so it is called\nmax_batch_size: 8\n'
BASE = 'name: "m"\n# größer\n'


def test_what_was_written_comes_back() -> None:
    assert split_base(with_base(TEXT, BASE)) == (TEXT, BASE)
    assert split_base(TEXT) == (TEXT, None)


def test_triton_reads_over_it() -> None:
    assert text_format.Parse(with_base(TEXT, BASE), ModelConfig()) == text_format.Parse(TEXT, ModelConfig())


@pytest.mark.parametrize("more", ['backend: "b"\n', '\nbackend: "b"'])
def test_a_person_may_write_around_it(more: str) -> None:
    assert split_base(with_base(TEXT, BASE) + more) == (TEXT + more, BASE)
    blank_line_gone = with_base(TEXT, BASE).replace("\n\n#", "\n#") + more
    assert split_base(blank_line_gone) == (TEXT + more, BASE)
    assert split_base(with_base(TEXT, BASE).rstrip("\n")) == (TEXT, BASE)


@pytest.mark.parametrize(
    "packed",
    ["nonsense!", base64.b64encode(b"nonsense").decode(), base64.b64encode(zlib.compress(bytes(10**8))).decode()],
    ids=["no base64", "not compressed", "too long"],
)
def test_a_line_that_was_damaged_is_none(packed: str) -> None:
    line = with_base("", BASE).split()[-1]
    assert split_base(with_base(TEXT, BASE).replace(line, packed)) == (TEXT, None)
    assert split_base(with_base(TEXT, BASE).replace(line, line[:-8])) == (TEXT, None)
