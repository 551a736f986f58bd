"""docs/limits.md: every limit that an option sets is there, with its default."""

from __future__ import annotations

import re

from support.environment import ROOT

from avizor_service.cli import serve

PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
GROUPS = ("Limits", "Explanations", "Connections", "Memory", "Decoding", "Stopping")


def test_every_option_that_is_a_limit_is_in_the_table_with_its_default() -> None:
    section = PAGE.partition("\n## Every limit\n")[2].partition("\n## ")[0]
    shown = {name: float(default) for name, default in re.findall(r"^\| `(--[a-z-]+)` \| ([0-9.]+) \|", section, re.MULTILINE)}
    limits = {name for group in GROUPS for name in serve.groups[group]}
    assert shown == {option.opts[0]: option.default for option in serve.params if option.name in limits}
