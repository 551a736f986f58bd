"""Compare pictures place by place: what is computed, against numpy, and which pictures resemble each other enough."""

import numpy as np
import pytest
import torch
from support.pictures import discs

from avizor_export.detection.fit import local_part, train_detector
from avizor_export.detection.local import BLOCKS, LocalResidual, blocks, can_be_local, local_of
from avizor_inference.errors import ExportError


def pictures(count: int, seed: int = 0, *, spot: float = 0.0, channels: int = 3) -> torch.Tensor:
    """Discs as a front end gives them: float32[count, channels, 64, 64]."""
    return torch.from_numpy(discs(count, seed, spot=spot, channels=channels)).permute(0, 3, 1, 2).contiguous() / 255


def test_the_score_is_the_largest_standardised_residual_of_a_place() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, turn = torch.randn(3 * 9, generator=generator), torch.randn(3, 3, 3, 3, generator=generator)
    components = torch.linalg.qr(torch.randn(27, 2, generator=generator)).Q
    part, items = LocalResidual(2, mean, components, turn), torch.randn(5, 3, 6, 6, generator=generator)
    averaged = blocks(2)(items).flatten(1).double().numpy()
    assert averaged.shape == (5, 27)
    centred = averaged - mean.double().numpy()
    basis = components.double().numpy()
    residual = (centred - centred @ basis @ basis.T).reshape(5, 3, 3, 3)
    standardised = np.einsum("cdhw,ndhw->nchw", turn.double().numpy(), residual)
    expected = (standardised**2).mean(axis=1).reshape(5, -1).max(axis=1)
    np.testing.assert_allclose(part(items, items)[:, 0].numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("side", [64, 65, 66, 67, 90, 96, 224])
def test_every_pixel_is_in_a_block(side: int) -> None:
    stride = max(1, round(side / BLOCKS))
    for place in (0, side - 1):
        item = torch.zeros(1, 1, side, side)
        item[0, 0, place, place] = 1
        assert float(blocks(stride)(item).max()) > 0


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_spot_is_far_above_normal_pictures_that_it_hardly_changes_as_wholes(channels: int) -> None:
    local = local_of(pictures(60, channels=channels), seed=0)
    assert local.applies
    normal, odd = pictures(50, 1, channels=channels), pictures(50, 2, spot=0.12, channels=channels)
    assert float(local.part(odd, odd).min()) > float(local.part(normal, normal).max())


def test_a_colour_that_is_off_counts_more_than_light_that_varies_in_all_colours() -> None:
    local = local_of(pictures(60), seed=0).part
    odd = pictures(20, 3)
    dimmed = odd * 0.9
    odd[:, 0] *= 1.1
    assert float(local(odd, odd).min()) > 3 * float(local(dimmed, dimmed).max())


def test_pictures_that_differ_as_wholes_are_not_compared_place_by_place() -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    shapes = []
    for cx, cy, width, height, angle in random.uniform((10, 10, 3, 3, 0), (54, 54, 20, 20, 3), (200, 5)):
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        shapes.append((abs(u) < width) & (abs(v) < height))
    items = torch.from_numpy(np.stack(shapes)[:, None].astype(np.float32))
    assert not local_of(items, seed=0).applies
    assert local_part(items, is_sound=False, seed=0) is None
    assert local_part(items, is_sound=False, seed=0, wanted=True) is not None


@pytest.mark.parametrize(
    ("shape", "count", "is_sound", "can_be"),
    [
        ((3, 64, 48), 30, False, True),
        ((1, 63, 63), 30, False, False),
        ((1, 64, 64), 30, True, False),
        ((1, 64, 64), 5, False, False),
        ((1, 20, 640), 30, False, True),
        ((1, 19, 640), 30, False, False),  # a block is 40 pixels high, of which at most half is outside
        ((4, 500), 30, False, False),
        ((9,), 30, False, False),
    ],
)
def test_places_are_compared_in_pictures_that_are_large_enough(
    shape: tuple[int, ...], count: int, is_sound: bool, can_be: bool
) -> None:
    assert can_be_local(shape, count, is_sound=is_sound) == can_be


@pytest.mark.parametrize("shape", [(1, 20, 640), (1, 80, 3), (3, 64, 64), (1, 2, 65)])
def test_what_can_be_compared_is(shape: tuple[int, ...]) -> None:
    items = torch.rand(12, *shape)
    assert can_be_local(shape, len(items), is_sound=False)
    assert local_of(items, seed=0).part(items, items).shape == (12, 1)


@pytest.mark.parametrize(("shape", "count"), [((1, 32, 32), 30), ((1, 19, 640), 30), ((3, 64, 64), 11), ((9,), 30)])
def test_places_that_cannot_be_compared_are_refused_before_a_training(shape: tuple[int, ...], count: int) -> None:
    items = torch.rand(count, *shape)
    told = list[int]()
    with pytest.raises(ExportError, match=rf"with_local.*{count} of {' x '.join(map(str, shape))}; leave it out"):
        train_detector(items, items, most_steps=60, with_local=True, watch=lambda step, _: told.append(step))
    assert not told


def test_pictures_that_are_equal_have_finite_scores() -> None:
    items = torch.ones(40, 1, 64, 64)
    part = local_of(items, seed=0).part
    assert torch.isfinite(part(items, items)).all()
    assert torch.isfinite(part(torch.full_like(items, 255.0), items)).all()


def test_a_detector_of_such_pictures_has_three_parts_and_of_others_two() -> None:
    items = pictures(40)
    with_it, _ = train_detector(items[:30], items[30:], most_steps=5)
    assert with_it.scores.names == ("score", "reconstruction_score", "neighbour_score", "local_score")
    without, _ = train_detector(items[:30], items[30:], most_steps=5, with_local=False)
    assert without.scores.names == ("score", "reconstruction_score", "neighbour_score")
    odd, normal = pictures(20, 2, spot=0.12), pictures(20, 1)
    with torch.no_grad():
        assert float(with_it.score(odd)["score"].min()) > float(with_it.score(normal)["score"].max())
    small, _ = train_detector(items[:30, :, ::2, ::2], items[30:, :, ::2, ::2], most_steps=5)
    assert "local_score" not in small.scores.names
