"""How a version was proven: parity with the reference, and what another precision changed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from avizor_inference.strict_json import Strict

# Scores that are nearly equal may change places; more than that is another model.
LEAST_RANK_CORRELATION = 0.99


class OutputDifference(Strict):
    """Largest difference between torch and ONNX Runtime seen in one output, and the sample that showed it.

    share_of_allowed: the largest share of what is allowed; up to 1 passes.
    """

    largest_absolute: float
    largest_relative: float
    sample: str
    share_of_allowed: float | None = None
    passed: bool


class Agreement(Strict):
    """What was compared, and how far it agreed.

    top1_agreement: share of items with the same most probable class, ties aside (classifiers).
    rank_correlation: Spearman's, of the scores (autoencoders); absent where too few items have different scores.
    """

    batch_sizes: tuple[int, ...] = ()
    outputs: dict[str, OutputDifference]
    top1_agreement: float | None = None
    rank_correlation: float | None = None

    @property
    def agreed(self) -> bool:
        """True if every output agreed on every sample, and with it classes and order."""
        same_class = self.top1_agreement is None or self.top1_agreement == 1
        same_order = self.rank_correlation is None or self.rank_correlation >= LEAST_RANK_CORRELATION
        return same_class and same_order and all(output.passed for output in self.outputs.values())


class ServerParity(Agreement):
    """The same comparison through a live server, before the version was published.

    batch_sizes: rows in a call; larger batches go in calls of the server's max_batch_size.
    """

    address: str


class ParityReport(Agreement):
    """Same inputs through the reference and through the exported graph: |onnx - reference| <= atol + rtol * |reference| +
    scale_tolerance * the item's largest |reference|.

    The same holds for logarithms of probabilities, whose scale is the item's largest logit (up to 10,000); that much of a
    probability is added to what is allowed of it, too. Of `score` and `error_map` the roots are compared:
    |root(onnx) - root(reference)| <= root_tolerance * v + rtol / 2 * root(reference), where v is the item's largest value of
    reconstruction plus that of the error.

    compared_with: the torch module, or the reference evaluator of the onnx package.
    scale_tolerance: absent where no share of the item's largest value was allowed.
    same_for_all: outputs that are the same for all random and real items, which agree whatever the graph does.
    root_tolerance: absent where `score` and `error_map` were compared as other values are.
    """

    compared_with: str = "torch"
    absolute_tolerance: float
    relative_tolerance: float
    root_tolerance: float | None = None
    scale_tolerance: float | None = None
    samples: tuple[str, ...]
    same_for_all: tuple[str, ...] = ()
    server: ServerParity | None = None

    @property
    def passed(self) -> bool:
        """True if all agreed, through the server as well where there was one."""
        return self.agreed and (self.server is None or self.server.agreed)


class VariantDifference(Strict):
    """Difference of one output to that of the FP32 graph: the largest, and the held-out item that showed it, counted from 0.

    share: root mean square of the difference over the standard deviation of the FP32 output, of all elements of all items;
        absent where that does not vary, and in versions made before it was measured.
    """

    largest_absolute: float
    item: int
    share: float | None = None


class SpeedComparison(Strict):
    """Rows a second before and after, on one thread of the CPU that exported: medians of interleaved runs.

    ratio: median over the runs of after / before, with the least and the largest of them.
    """

    batch_size: int
    before: float
    after: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float


class ServerQuality(Strict):
    """The metric measured once more through a live server, before the version was published."""

    address: str
    after: float


class VariantReport(Strict):
    """What another precision changed against the FP32 graph, which was proven first; refused if it lost too much.

    metric: accuracy, or ROC AUC of the scores, of `items` held-out items; drop = before - after.
    provider: ONNX Runtime execution provider of all these figures.
    top1_agreement: share of items with the same most probable class (classifiers).
    rank_correlation: Spearman's, of the scores (autoencoders); absent where too few items have different scores.
    """

    metric: Literal["accuracy", "roc_auc"]
    before: float
    after: float
    drop: float
    max_drop: float
    items: int = Field(ge=1)
    provider: str
    fp32_sha256: str
    fp32_bytes: int
    outputs: dict[str, VariantDifference]
    top1_agreement: float | None = None
    rank_correlation: float | None = None
    speed: tuple[SpeedComparison, ...]
    settings: dict[str, JsonValue] = Field(description="how the network was converted")
    server: ServerQuality | None = None

    @property
    def passed(self) -> bool:
        """True if the drop is allowed, through the server as well where there was one."""
        worst = min(self.after, self.server.after) if self.server else self.after
        return self.before - worst <= self.max_drop + 1e-9  # 0.98 - 0.97 is a little over 0.01
