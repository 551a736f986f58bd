"""Count the items that cannot be served, by model and by the kind of reason: nothing that a client wrote becomes a label."""

from __future__ import annotations

from functools import cache

from avizor_inference.errors import DecoderEnded, EngineError, MediaError, RequestError
from avizor_service.metrics import Metrics

# The first class that fits is taken.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (MediaError, "media"),
    (RequestError, "request"),
    (DecoderEnded, "decoder"),
    (EngineError, "engine"),
)


class ItemErrors:
    """Counts items, and those of them that are answered with an error."""

    def __init__(self, metrics: Metrics) -> None:
        # A look-up by labels takes as long as all else that is done to a metric.
        self._items, self._errors = cache(metrics.items.labels), metrics.item_errors.labels

    def asked(self, model: str, items: int) -> None:
        """Count items that a call holds."""
        self._items(model).inc(items)

    def count(self, model: str, error: Exception) -> None:
        """Count an item that is answered with an error."""
        self._errors(model, reason_of(error)).inc()


def reason_of(error: Exception) -> str:
    """Return the kind of an item's error, one of a few."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "internal")
