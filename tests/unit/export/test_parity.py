"""parity/compare.py: the proof sees what is wrong, and lets rounding be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from avizor_export.parity.compare import compare_runs
from avizor_export.parity.probe_items import random_items
from avizor_inference.errors import ExportError, ParityError
from avizor_inference.items.input_spec import InputSpec, TensorInput
from avizor_inference.repository.reports import ParityReport

VECTOR = TensorInput(name="features", item_shape=(6,))

Items = NDArray[Any]
Outputs = dict[str, Items]
Run = Callable[[Items], Outputs]


def compared(reference: Run, found: Run, spec: InputSpec = VECTOR) -> ParityReport:
    return compare_runs(reference, found, spec, None, "the reference")


def autoencoder(error: float, wrong: Callable[[Items], Items] = lambda values: values) -> Run:
    """Is off by `error` times a pattern of features; `wrong` falsifies the score."""

    def run(items: Items) -> Outputs:
        x = items.astype(np.float32)
        pattern = (error * np.cos(x + np.arange(6))).astype(np.float32)
        error_map = pattern**2
        return {
            "score": wrong(error_map.mean(1, keepdims=True)),
            "error_map": error_map,
            "reconstruction": x + pattern,
        }

    return run


def softmax(logits: Items) -> Items:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


@pytest.mark.parametrize("error", [7e-3, 1e-3, 1e-4])
@pytest.mark.parametrize("wrong", [lambda score: score * 0.5, lambda score: score * 1.5, lambda score: score + 5e-5])
def test_a_wrong_score_of_a_good_autoencoder_is_seen(error: float, wrong: Callable[[Items], Items]) -> None:
    with pytest.raises(ParityError, match="score by up to"):
        compared(autoencoder(error), autoencoder(error, wrong))


@pytest.mark.parametrize("error", [1.0, 7e-3, 1e-4, 1e-7])
def test_rounding_of_the_reconstruction_is_no_wrong_score(error: float) -> None:
    def rounded(items: Items) -> Outputs:
        """The same network with roundings of its own: the error of a good reconstruction is mostly noise."""
        x = items.astype(np.float32)
        wanted = autoencoder(error)(items)["reconstruction"]
        noise = np.random.default_rng(0).uniform(-1, 1, x.shape) * 4 * np.finfo(np.float32).eps
        reconstruction = (wanted * (1 + noise)).astype(np.float32)
        error_map = (x - reconstruction) ** 2
        return {"score": error_map.mean(1, keepdims=True), "error_map": error_map, "reconstruction": reconstruction}

    report = compared(autoencoder(error), rounded)
    assert report.passed
    assert all(output.share_of_allowed is not None and output.share_of_allowed <= 1 for output in report.outputs.values())


def test_logits_that_are_a_tenth_off_are_seen_where_the_softmax_is_saturated() -> None:
    def classifier(scale: float) -> Run:
        return lambda items: {"probabilities": softmax(scale * np.array([20.0, 0.0, -5.0]) + 0 * items[:, :3])}

    assert np.abs(softmax(np.array([[20.0, 0.0, -5.0]])) - softmax(np.array([[22.0, 0.0, -5.5]]))).max() < 1e-8
    with pytest.raises(ParityError, match="logarithm of probabilities"):
        compared(classifier(1.0), classifier(1.1))
    assert compared(classifier(1.0), classifier(1.0 + 1e-7)).passed


def classifier_of(change: Callable[[Items], Items]) -> Run:
    return lambda items: {"probabilities": softmax(change(items[:, :3].astype(np.float64)))}


def jumps(x: Items) -> Items:
    """At 0."""
    return x + (x > 0)


@pytest.mark.parametrize(("network", "passes"), [(lambda x: x, False), (jumps, True)])
def test_zeros_are_left_out_only_where_the_reference_gives_rounding_on_them(
    network: Callable[[Items], Items], passes: bool
) -> None:
    """The graph is 0.5 off on zeros, and nowhere else."""
    wrong = classifier_of(lambda x: network(x) + 0.5 * (x == 0) * np.arange(3))
    right = classifier_of(network)

    def compare(perturbed: Callable[[Items], Run] | None) -> ParityReport:
        return compare_runs(right, wrong, VECTOR, None, "the reference", perturbed)

    with pytest.raises(ParityError, match="on zeros"):
        compare(None)
    if passes:
        assert compare(lambda by: lambda items: right(items + by)).samples == ("random",)
    else:
        with pytest.raises(ParityError, match="on zeros"):
            compare(lambda by: lambda items: right(items + by))


MIXING: dict[str, Callable[[Items], Items]] = {
    "mean of the batch": lambda x: x - x.mean(0, keepdims=True),
    "the item before": lambda x: x + np.concatenate([x[:1] * 0, x[:-1]]),
    "the item after": lambda x: x + np.concatenate([x[1:], x[:1] * 0]),
    "the largest of the batch": lambda x: x / (1 + np.abs(x).max()),
}


@pytest.mark.parametrize("name", MIXING)
def test_items_that_influence_each_other(name: str) -> None:
    def mixing(items: Items) -> Outputs:
        return {"probabilities": softmax(MIXING[name](items[:, :3].astype(np.float64)))}

    with pytest.raises(ExportError, match="items of a batch influence each other"):
        compared(mixing, mixing)


def test_what_is_random_is_called_so() -> None:
    rng = np.random.default_rng(0)

    def dropout(items: Items) -> Outputs:
        return {"probabilities": softmax(items[:, :3] * rng.integers(0, 2, (len(items), 3)))}

    with pytest.raises(ExportError, match="something in it is random, such as dropout"):
        compared(dropout, dropout)


def test_an_output_without_a_row_for_each_item() -> None:
    def folded(items: Items) -> Outputs:
        return {"probabilities": softmax(items[:, :3]), "embedding": np.repeat(items, 2, axis=0)}

    with pytest.raises(ExportError, match="embedding has 2 rows for a batch of 1"):
        compared(folded, folded)


def test_only_a_table_has_missing_values() -> None:
    def network(items: Items) -> Outputs:
        return {"probabilities": softmax(items[:, :3])}

    report = compared(network, network, TensorInput(name="record", item_shape=(6,)))
    assert report.samples == ("zeros", "random")


def test_whole_numbers_are_drawn_from_the_range_of_the_real_ones() -> None:
    tokens = TensorInput(name="tokens", dtype="int64", item_shape=(4,))
    real = np.array([[0, 3, 49, 7]])
    drawn = random_items(tokens, 100, real=real)
    assert drawn.dtype == np.int64
    assert (drawn.min(), drawn.max()) == (0, 49)
    assert random_items(tokens, 100).max() > 49
