"""http/forms.py: what a form may have at most."""

from __future__ import annotations

import pytest

from avizor_inference.errors import InvalidInput
from avizor_service.http.forms import ITEM, parsed_form


def form_of(names: list[str]) -> bytes:
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n1\r\n' for name in names]
    return "".join([*parts, "--x--\r\n"]).encode()


def test_a_form_has_as_many_files_and_fields_as_are_allowed_and_not_one_more() -> None:
    files, fields = [ITEM] * 3, [f"f{number}" for number in range(64)]
    parsed = parsed_form("multipart/form-data; boundary=x", form_of([*files, *fields]), 3)
    assert (len(parsed.files), len(parsed.fields)) == (3, 64)
    for more in ([*files, ITEM], [*fields, "f64"], [ITEM, *fields, "f64"]):
        with pytest.raises(InvalidInput, match="more than 3 files or 64 other fields"):
            parsed_form("multipart/form-data; boundary=x", form_of(more), 3)
