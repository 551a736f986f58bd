"""Change the text of config.pbtxt, which has comments for people, and in its first line a digest of all others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from avizor_inference.repository.triton_config import (
    GENERATED,
    LAST_LINE,
    digest_of_version,
    digest_parameter,
    parse_config,
)

# The first line of a generated file ends with the digest of all others.
_FIRST_LINE = re.compile(rf"({GENERATED}[^\n]* )([0-9a-f]{{64}})\n")


def appended(before: str, text: str, lines: str, where: str) -> str:
    """Return a text with lines at its end, and the digest of a generated file. before: the file that it is made of.

    where: names the file in errors. Raises RepositoryError if it is no configuration then.
    """
    parts = text.replace(LAST_LINE, "").rstrip(), lines, LAST_LINE if LAST_LINE in text else ""
    text = "\n\n".join(filter(None, parts)) + "\n"
    parse_config(text, where)
    return _with_digest(before, text)


def with_digests(text: str, digests: Mapping[int, str], where: str) -> str:
    """Return a text that has the sha256 of model.onnx of these versions, too; "" for none. See `appended`."""
    config = parse_config(text, where)
    missing = {version: sha256 for version, sha256 in digests.items() if digest_of_version(config, version) != sha256}
    lines = (
        f'parameters [ {{ key: "{digest_parameter(version)}", value: {{ string_value: "{sha256}" }} }} ]'
        for version, sha256 in sorted(missing.items())
    )
    return appended(text, text, "\n".join(lines), where) if missing else text


def _with_digest(before: str, text: str) -> str:
    """Return the text with the digest of a generated file; a file whose digest was wrong before stays so."""
    first = _FIRST_LINE.match(before)
    if not first or hashlib.sha256(before[first.end() :].encode()).hexdigest() != first[2]:
        return text
    body = text[first.end() :]
    return f"{first[1]}{hashlib.sha256(body.encode()).hexdigest()}\n{body}"
