"""What a detector's scores are, against numpy, and how an autoencoder is trained until its held-out error no longer falls."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from avizor_export.architectures.catalogue import build_autoencoder
from avizor_export.detection.bank import MOST_BYTES, MOST_ROWS, MOST_ROWS_OF_SOUNDS, bank_of
from avizor_export.detection.early_stopping import train_until_flat
from avizor_export.detection.fit import WEIGHTS, neighbours, with_parts
from avizor_export.detection.scores import MeanError, NeighbourDistance, Scores
from avizor_export.detection.sizes import suggested_spec
from avizor_export.detection.views import LARGEST_VECTOR, BandStatistics, Pooled, view_of
from avizor_export.detection.whitening import standardising, whitening


def rows(count: int, size: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_the_neighbour_score_is_the_distance_to_the_nearest_row() -> None:
    known, new = rows(40), rows(7, seed=1)
    mean = torch.full((5,), 0.5)
    expected = np.linalg.norm((new[:, None] - known[None]).numpy(), axis=2).min(axis=1)
    for part in (
        NeighbourDistance(nn.Identity(), mean, None, known - mean),
        NeighbourDistance(nn.Identity(), None, None, known),
    ):
        np.testing.assert_allclose(part(new, new)[:, 0].numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("offset", [0, 3e4])
def test_distances_are_as_exact_far_from_0(offset: float) -> None:
    known, new = rows(200) + offset, rows(7, seed=1) + offset
    part = neighbours(known, is_sound=False, seed=0)
    expected = torch.cdist(new.double(), known.double()).min(dim=1).values
    torch.testing.assert_close(part(new, new)[:, 0].double(), expected, rtol=5e-3, atol=0)
    assert (part.mean is None) == (offset == 0)


def test_a_row_of_the_bank_has_a_distance_of_exactly_0() -> None:
    known = rows(40) + 30
    part = NeighbourDistance(nn.Identity(), None, None, known)
    assert float(part(known[:7], known).max()) == 0


def test_a_matrix_turns_vectors_before_their_distances_count() -> None:
    known, new, turned = rows(40), rows(7, seed=1), rows(5, size=3, seed=2)
    part = NeighbourDistance(nn.Identity(), torch.zeros(5), turned, known @ turned)
    expected = np.linalg.norm(((new[:, None] - known[None]) @ turned).numpy(), axis=2).min(axis=1)
    np.testing.assert_allclose(part(new, new)[:, 0].numpy(), expected, rtol=1e-4)


def two_scores() -> Scores:
    known = rows(200)
    neighbours = NeighbourDistance(nn.Identity(), torch.zeros(5), None, known)
    scores = Scores(
        {"reconstruction_score": MeanError(), "neighbour_score": neighbours},
        {"reconstruction_score": 0.5, "neighbour_score": 0.5},
    )
    scores.fit(scores.values(rows(300, seed=1), rows(300, seed=2) ** 2))
    return scores


def test_normal_items_score_near_1_and_a_far_one_much_higher() -> None:
    scores = two_scores()
    decides, error, distance = scores(rows(300, seed=3), rows(300, seed=4) ** 2)
    assert float(torch.log(decides).mean().abs()) < 0.05
    assert torch.equal(error, (rows(300, seed=4) ** 2).mean(dim=1, keepdim=True))
    far, *_ = scores(torch.full((1, 5), 50.0), torch.full((1, 5), 2500.0))
    assert float(far) > 2 * float(decides.max())
    assert np.isfinite(float(far))
    assert scores.names == ("score", "reconstruction_score", "neighbour_score")
    assert len(distance) == 300


def test_items_of_the_training_and_infinite_ones_have_finite_scores() -> None:
    scores = two_scores()
    same, *_ = scores(rows(3), torch.zeros(3, 5))
    assert torch.isfinite(same).all()
    assert (same > 0).all()
    huge, *_ = scores(torch.full((1, 5), 1e15), torch.full((1, 5), 1e30))
    assert torch.isfinite(huge).all()


def test_whitened_vectors_have_the_same_variance_in_every_direction() -> None:
    vectors = rows(4000, 6) @ rows(6, 6, seed=1)
    vectors = vectors - vectors.mean(dim=0)
    turned = vectors @ whitening(vectors)
    torch.testing.assert_close(turned.T @ turned / len(turned), torch.eye(6), atol=0.1, rtol=0)


def test_standardised_vectors_have_deviation_1_and_what_never_varies_stays_0() -> None:
    vectors = rows(500, 3) * torch.tensor([0.001, 7.0, 0.0])
    vectors = vectors - vectors.mean(dim=0)
    turned = vectors @ standardising(vectors)
    torch.testing.assert_close(turned.std(dim=0, correction=0), torch.tensor([1.0, 1.0, 0.0]))


def test_whitening_of_fewer_vectors_than_numbers_is_finite() -> None:
    turn = whitening(rows(10, 50) - rows(10, 50).mean(dim=0))
    assert torch.isfinite(turn).all()
    assert float(turn.abs().max()) < 1e3
    assert torch.isfinite(whitening(torch.zeros(4, 3))).all()


def test_band_statistics_do_not_depend_on_when_a_sound_is() -> None:
    features = rows(2 * 8 * 16, 1).reshape(2, 1, 8, 16)
    statistics = BandStatistics()(features)
    assert statistics.shape == (2, 16)
    torch.testing.assert_close(statistics, BandStatistics()(features.roll(5, dims=3)))
    np.testing.assert_allclose(statistics[:, :8].numpy(), features[:, 0].mean(dim=2).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 224, 224), (2, 5000), (1, 7, 300)])
def test_pooled_vectors_are_never_longer_than_their_limit(shape: tuple[int, ...]) -> None:
    vectors = Pooled(shape)(torch.ones(2, *shape))
    assert 0 < vectors.shape[1] <= LARGEST_VECTOR
    torch.testing.assert_close(vectors, torch.ones_like(vectors))


def test_small_maps_are_compared_as_they_are() -> None:
    features = rows(3, 14 * 14).reshape(3, 1, 14, 14)
    assert torch.equal(view_of((1, 14, 14), is_sound=False)(features), features.flatten(1))


def test_a_bank_is_bounded_and_leaves_no_corner_out() -> None:
    vectors = torch.cat([rows(5000, 2) * 0.01, torch.tensor([[9.0, 9.0], [-9.0, 9.0]])])
    bank = bank_of(vectors, seed=0)
    assert len(bank) == MOST_ROWS
    assert float(torch.cdist(vectors, bank).min(dim=1).values.max()) < 0.02
    assert torch.equal(bank, bank_of(vectors, seed=0))
    assert bank_of(rows(100, 80_000), seed=0).numel() * 4 <= MOST_BYTES
    assert torch.isfinite(bank_of(torch.ones(MOST_ROWS + 1, 3), seed=0)).all()


def test_a_bank_of_few_vectors_is_these_vectors_and_that_of_sounds_may_be_larger() -> None:
    assert torch.equal(bank_of(rows(10), seed=0), rows(10))
    sounds = rows(MOST_ROWS + 88, 4 * 6).reshape(-1, 1, 4, 6)
    assert len(sounds) < MOST_ROWS_OF_SOUNDS
    assert len(neighbours(sounds, is_sound=True, seed=0).bank) == len(sounds)
    assert len(neighbours(sounds, is_sound=False, seed=0).bank) == MOST_ROWS


@pytest.mark.parametrize(
    ("shape", "is_sound", "spec"),
    [
        ((9,), False, "fc72 fc36 latent3"),
        ((1, 14, 14), False, "conv16s2bn conv32s2bn fc128bn latent16"),
        ((3, 224, 224), False, "conv16s2bn conv32s2bn conv64s2bn conv64s2bn conv64s2bn conv64s2bn fc128bn latent16"),
        ((1, 64, 64), True, "conv16s2bn conv32s2bn conv64s2bn latent24"),
        ((2, 250), False, "conv16s2bn conv32s2bn conv64s2bn latent24"),
    ],
)
def test_the_network_follows_from_the_features_and_its_file_stays_small(
    shape: tuple[int, ...], is_sound: bool, spec: str
) -> None:
    size = math.prod(shape)
    items = (rows(20, 3) @ rows(3, size, seed=1)).reshape(20, *shape)
    assert suggested_spec(items, is_sound=is_sound) == spec
    network = build_autoencoder(spec, shape)
    assert network(items[:2]).shape == items[:2].shape
    assert 4 * sum(parameter.numel() for parameter in network.parameters()) < 10 * 2**20


def test_training_stops_by_itself_and_keeps_the_best_weights() -> None:
    items = rows(300, 3) @ rows(3, 8, seed=1)
    torch.manual_seed(0)
    network = build_autoencoder("fc16 latent3", (8,))
    errors = train_until_flat(network, items[:200], items[200:], most_steps=1200)["error of held-out items"]
    assert len(errors) <= 20
    assert not network.training
    kept = float(((network(items[200:]) - items[200:]) ** 2).mean())
    assert kept == pytest.approx(min(errors), rel=5e-3)
    assert kept < 0.1 * errors[0]


def test_training_needs_items_and_others_held_out() -> None:
    with pytest.raises(ValueError, match="1 items to train and 5 held out"):
        train_until_flat(nn.Linear(5, 5), rows(1), rows(5), most_steps=10)


def test_what_is_held_out_goes_through_the_network_in_batches_with_the_same_scores() -> None:
    """The layers of a network take many times the memory of what goes through it."""
    network, sizes = nn.Linear(5, 5), list[int]()
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    distance, held = NeighbourDistance(nn.Identity(), None, None, rows(50)), rows(600, seed=1)
    made = with_parts(network, distance, None, held)
    assert max(sizes) <= 256
    with torch.no_grad():
        whole = Scores(made.scores.parts, WEIGHTS)  # type: ignore[arg-type]
        whole.fit(whole.values(held, (held - network(held)) ** 2))
    for name in ("floor", "slope", "offset"):
        torch.testing.assert_close(getattr(made.scores, name), getattr(whole, name))
