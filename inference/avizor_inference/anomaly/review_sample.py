"""Choose a uniform random sample of a job's items, which nobody can steer towards items that they have looked at.

The items are drawn by the digests of their uris. Digests know nothing of scores, there is no seed to try again with, and a
smaller sample is a part of a larger one: answers that were given for it stay of use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from heapq import nsmallest

# What is put before a uri whose digest is taken.
PREFIX = "avizor review sample\n"


def rank(uri: str) -> str:
    """Return what items are drawn by: those with the smallest ranks are the sample. It is 64 hex digits."""
    return hashlib.sha256(f"{PREFIX}{uri}".encode()).hexdigest()


def sample(uris: Iterable[str], size: int) -> frozenset[str]:
    """Return `size` of the uris, or all if there are fewer. Memory: the sample."""
    return frozenset(nsmallest(size, uris, key=rank))
