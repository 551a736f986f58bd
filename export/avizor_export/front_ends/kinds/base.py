"""Define what export asks of the front end of a kind of item, so that nothing else has to name the kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Generic, TypeVar

from torch import Tensor, nn

from avizor_inference.items.kinds.base import ItemInput
from avizor_inference.strict_json import Strict

Spec = TypeVar("Spec", bound=ItemInput)

# The rows of a table, the header first.
Rows = list[tuple[str, ...]]


class KindOfFrontEnd(ABC, Generic[Spec]):
    """Holds the front end of one description. A kind without constants need not override `parts`, `fit` and `with_parts`.

    nothing_to_fit: why `parts` is empty, for the refusal of --fit-on.
    """

    nothing_to_fit: ClassVar[str] = "a model that takes its own tensor has no front end with constants to fit"

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @abstractmethod
    def module(self) -> nn.Module:
        """Return the module that turns raw items [n, *item_shape] into the network's features. Always FP32."""

    def parts(self) -> Sequence[Strict]:
        """Return the parts of the description that have a `mean` and a `std`."""
        return ()

    def fit(self, items: Iterable[Tensor]) -> Sequence[Strict]:
        """Return `parts` with the constants that standardise these items, batches of raw items. Raises ValueError."""
        raise ValueError(self.nothing_to_fit)

    def with_parts(self, parts: Sequence[Strict]) -> Spec:
        """Return the description with other `parts`."""
        return self.spec

    def warnings(self) -> Iterator[str]:
        """Yield what is unusual about the front end, but may be intended, each as a sentence without its full stop."""
        yield from ()

    def table(self) -> Rows:
        """Return the parameters for people: the header and the rows of a table."""
        return []
