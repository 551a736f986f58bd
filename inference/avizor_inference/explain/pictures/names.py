"""Write names as matplotlib shows them."""

from __future__ import annotations

from avizor_inference.explain.heat_map import HeatMap

KINDS = {"cam": "class activation map", "occlusion": "hidden parts", "error_map": "error"}

_LONGEST = 30  # characters of a class


def plain(text: str) -> str:
    """Return a text that matplotlib shows as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def target_of(map: HeatMap) -> str:
    """Return the target of a map, shortened."""
    return map.target if len(map.target) <= _LONGEST else map.target[: _LONGEST - 3] + "..."
