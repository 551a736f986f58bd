"""Define labelled held-out items, on which a metric is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avizor_inference.arrays import Items
from avizor_inference.errors import ExportError
from avizor_inference.repository.manifest import Task

# Labels, and names of folders, of normal items, in small letters; any other label is an anomaly.
NORMAL_LABELS = ("normal", "good", "ok", "0", "false")


@dataclass(frozen=True)
class LabelledItems:
    """Holds held-out raw items [n, *item_shape], and their classes.

    labels: int64[n], the index of a class, or for an autoencoder 1 for an anomaly; or for a multi-label model int64[n,
    classes], 1 for each class that the item has and 0 for the others.
    """

    items: Items
    labels: NDArray[np.int64]

    def check(self, task: Task, classes: int) -> None:
        """Raise ExportError unless each item has a label that there is, and ROC AUC has something to tell apart."""
        if len(self.items) != len(self.labels) or not len(self.items):
            raise ExportError(f"{len(self.items)} held-out items with {len(self.labels)} labels; each item has one")
        if self.labels.ndim == 2:
            self._check_matrix(task, classes)
            return
        most = classes - 1 if task == "classify" else 1
        if self.labels.min() < 0 or self.labels.max() > most:
            raise ExportError(
                f"labels of held-out items go from {self.labels.min()} to {self.labels.max()}; allowed: 0 to {most}"
            )
        if task == "reconstruct" and len(np.unique(self.labels)) < 2:
            kind, names = "anomalies" if self.labels[0] else "normal", ", ".join(f"`{name}`" for name in NORMAL_LABELS[:-1])
            raise ExportError(
                f"held-out items are all {kind}, and ROC AUC needs some of both: those labelled {names} and "
                f"`{NORMAL_LABELS[-1]}` are normal, those of any other label are anomalies"
            )

    def _check_matrix(self, task: Task, classes: int) -> None:
        """Raise ExportError unless there is a column of 0 and 1 for each class, and some item has a class."""
        if task == "reconstruct":
            raise ExportError("labels of held-out items are a matrix; an autoencoder's are one for each item: 1 for an anomaly")
        if self.labels.shape[1] != classes or not np.isin(self.labels, (0, 1)).all() or not self.labels.any():
            raise ExportError(
                f"labels of held-out items are {list(self.labels.shape)} with values from {self.labels.min()} to "
                f"{self.labels.max()}; a matrix of labels has a column for each of the {classes} classes, with 1 where an item "
                "has the class and 0 where it has not, and some 1"
            )

    def batches(self, size: int) -> Iterator[Items]:
        """Yield the items in order."""
        for start in range(0, len(self.items), size):
            yield np.ascontiguousarray(self.items[start : start + size])
