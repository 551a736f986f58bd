"""Compute in one way whatever the machine does besides: a sum in another order is another number, and another model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

THREADS = 2


@contextmanager
def same_everywhere() -> Iterator[None]:
    """Compute with THREADS threads and deterministic algorithms, so that a seed gives the same model on the same machine."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
