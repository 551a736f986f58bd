"""Say how sure a share is that was counted."""

from __future__ import annotations

from math import sqrt

# Of the normal distribution, for 95 %.
_Z = 1.959963984540054


def wilson(count: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by the score method (Wilson, 1927); 0 to 1 of nothing.

    report.js does the same while alpha is moved.
    """
    if not of:
        return 0.0, 1.0
    share, weight = count / of, _Z**2 / of
    middle = (share + weight / 2) / (1 + weight)
    half = _Z * sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)
