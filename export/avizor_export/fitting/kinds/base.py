"""Say what fitting asks of a kind of items: what there is to know about a sample of them, and what is chosen from that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from avizor_export.fitting.choices import Choice
from avizor_inference.items.dataset import Entry
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.kinds.base import Content
from avizor_inference.items.windows import ChannelMode


@dataclass(frozen=True)
class Wanted:
    """Holds the choices about the input that a user made; None where it is chosen from the data.

    sample_rate: Hz. window_s, hop_s: seconds, or steps of a signal without a rate. size: height and width of images, pixels.
    columns: of tables; without them all are looked at. leave_out: columns of tables that are not taken.
    channels: what is taken of a sound of several.
    """

    sample_rate: float | None = None
    window_s: float | None = None
    hop_s: float | None = None
    size: tuple[int, int] | None = None
    columns: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    channels: ChannelMode = "each"


@dataclass(frozen=True)
class Chosen:
    """Holds the input that was chosen, without the constants of its front end, and the choices that led to it."""

    input: InputSpec
    choices: tuple[Choice, ...]


class KindToFit(ABC):
    """Looks at a sample of the items of a kind, and chooses the input of a model of them.

    modality: the kind's name. plural: of the items, for people. Each look adds one item; then `warnings` and `choose` speak of
    all that was seen.
    """

    modality: ClassVar[str]
    plural: ClassVar[str]

    @abstractmethod
    def look(self, entry: Entry, content: Content) -> None:
        """Take note of an item. Raises MediaError, InvalidInput or DatasetError if it cannot be read."""

    def warnings(self) -> Iterator[str]:
        """Yield what is unusual about the items, each as a sentence without its full stop. Raises DatasetError."""
        yield from ()

    @abstractmethod
    def choose(self, wanted: Wanted) -> Chosen:
        """Return the input for what was seen. Raises DatasetError if there is none."""

    def choose_for_classes(self, wanted: Wanted) -> Chosen:
        """Return the input of a classifier. Raises DatasetError if there is none."""
        return self.choose(wanted)
