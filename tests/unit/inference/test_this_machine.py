"""this_machine.py: what this process may use of its machine."""

from __future__ import annotations

import pytest

from avizor_inference.this_machine import available_memory, cores_of_limit, total_memory


@pytest.mark.parametrize(("text", "cores"), [("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1)])
def test_the_cpu_limit_of_a_container_is_rounded_up(text: str, cores: int) -> None:
    assert cores_of_limit(text) == cores


def test_a_container_without_a_limit_has_none() -> None:
    with pytest.raises(ValueError, match="max"):
        cores_of_limit("max 100000\n")


def test_what_is_free_is_a_part_of_what_there_is() -> None:
    assert 0 < available_memory() <= total_memory()
