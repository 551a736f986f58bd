"""Report the checks at export: parity with the reference, and the effects of another precision."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from avizor_inference.strict_json import Strict

# How good a model is on labelled data, 0 to 1.
Metric = Literal["accuracy", "mean_average_precision", "roc_auc"]

# A network that fresh weights could be with a larger probability gets a warning. docs/decisions/0050 has the error rates.
MOST_CHANCE = 0.001

# Scores that are nearly equal may change places. Below this it is another model.
LEAST_RANK_CORRELATION = 0.99


class OutputDifference(Strict):
    """Holds the largest difference between the reference and ONNX Runtime in one output, and the sample that had it.

    share_of_allowed: the largest difference as a share of the allowed one; up to 1 passes.
    """

    largest_absolute: float
    largest_relative: float
    sample: str
    share_of_allowed: float | None = None
    passed: bool


class Agreement(Strict):
    """Tells what was compared, and how well it agreed.

    top1_agreement: share of items with the same most probable class, ignoring ties (classifiers).
    rank_correlation: Spearman's, of the scores (autoencoders); absent if too few items have different scores.
    """

    batch_sizes: tuple[int, ...] = ()
    outputs: dict[str, OutputDifference]
    top1_agreement: float | None = None
    rank_correlation: float | None = None

    @property
    def agreed(self) -> bool:
        """Return whether every output agreed on every sample, and with them the classes and the order of the scores."""
        same_class = self.top1_agreement is None or self.top1_agreement == 1
        same_order = self.rank_correlation is None or self.rank_correlation >= LEAST_RANK_CORRELATION
        return same_class and same_order and all(output.passed for output in self.outputs.values())


class ServerParity(Agreement):
    """Reports the same comparison through a live server, before the version was published.

    batch_sizes: rows in a call. Larger batches are sent in calls of the server's max_batch_size.
    """

    address: str


class ParityReport(Agreement):
    """Compares the reference and the exported graph on the same inputs: |onnx - reference| <= atol + rtol * |reference| +
    scale_tolerance * the item's largest |reference|.

    The same holds for logarithms of probabilities, whose scale is the item's largest logit (up to 10,000). That share of a
    probability is added to its allowed difference, too. Of `score` and `error_map` the roots are compared:
    |root(onnx) - root(reference)| <= root_tolerance * v + rtol / 2 * root(reference), where v is the item's largest value of
    reconstruction plus that of the error.

    compared_with: the torch module, or the reference evaluator of the onnx package.
    scale_tolerance: absent if no share of the item's largest value was allowed.
    same_for_all: outputs that are the same for all random and real items, so that their agreement proves nothing.
    root_tolerance: absent if `score` and `error_map` were compared like other values.
    own_rounding: by how much the file's own rounding, to int8 or of 1 - p, or that of sound's front end, changes each output at
        most (`score` and `error_map`: their roots). It was allowed to differ by that much more.
    """

    compared_with: str = "torch"
    absolute_tolerance: float
    relative_tolerance: float
    root_tolerance: float | None = None
    scale_tolerance: float | None = None
    samples: tuple[str, ...]
    same_for_all: tuple[str, ...] = ()
    own_rounding: dict[str, float] = Field(default_factory=dict)
    server: ServerParity | None = None

    @property
    def passed(self) -> bool:
        """Return whether all agreed, also through the server if there was one."""
        return self.agreed and (self.server is None or self.server.agreed)


class VariantDifference(Strict):
    """Holds the largest difference of one output from the FP32 graph's, and the held-out item that had it, counted from 0.

    share: root mean square of the difference, divided by the standard deviation of the FP32 output, over all elements of all
        items; absent if that output does not vary, and in versions older than this field.
    """

    largest_absolute: float
    item: int
    share: float | None = None


class SpeedComparison(Strict):
    """Holds the rows a second before and after, on one thread of the exporting machine's CPU: medians of interleaved runs.

    ratio: median of after / before over the runs; lowest_ratio and highest_ratio are its extremes.
    """

    batch_size: int
    before: float
    after: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float


class ServerQuality(Strict):
    """Holds the metric, measured again through a live server before the version was published."""

    address: str
    after: float


class VariantReport(Strict):
    """Compares another precision with the FP32 graph, which was proven first. It is refused if it loses too much.

    metric: accuracy, mean average precision (multi-label), or ROC AUC of the scores, on `items` held-out items.
    drop: before - after.
    provider: ONNX Runtime execution provider of all these numbers.
    top1_agreement: share of items with the same most probable class (classifiers).
    rank_correlation: Spearman's, of the scores (autoencoders); absent if too few items have different scores.
    """

    metric: Metric
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
        """Return whether the drop is allowed, also through the server if there was one."""
        worst = min(self.after, self.server.after) if self.server else self.after
        return self.before - worst <= self.max_drop + 1e-9  # 0.98 - 0.97 is a little over 0.01


class FilterNoise(Strict):
    """Tells how much of a network's convolutions looks like fresh weights, by `avizor_inference.explain.filter_noise`.

    share: estimated share of its filters that are noise, 0 to 1; absent if the network cannot be judged. p_value: the
    probability that fresh weights have at most this share, or a layer with so strong a direction: it tells trained from
    untrained. filters: how many were judged. layers: the share for each layer that was judged, by name, in the order of the
    graph. not_judged: why the network cannot be judged; empty if it can.
    """

    share: float | None = Field(default=None, ge=0, le=1)
    p_value: float | None = Field(default=None, ge=0, le=1)
    filters: int = Field(ge=0)
    layers: dict[str, float] = Field(default_factory=dict)
    not_judged: str = ""

    @property
    def warning(self) -> str:
        """Return what is to be said about the network, without a full stop; empty if there is nothing to say."""
        if self.p_value is None or self.p_value <= MOST_CHANCE:
            return ""
        return (
            f"the filters cannot be told from fresh weights (p = {self.p_value:.2g}): perhaps the network was hardly trained, "
            "or its weights were not loaded; a good network can look so, too; look at its metrics on held-out items"
        )
