"""fitting/classifier/training.py and networks.py: what is trained, by which weights, and until when."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from avizor_export.architectures.catalogue import build
from avizor_export.fitting.classifier.fit import DEEP_RATE, first_rate, multiply_adds
from avizor_export.fitting.classifier.networks import Design, suggested_spec, with_published_weights
from avizor_export.fitting.classifier.training import FRESH_RATE, Examples, Recipe, Training, class_weights
from avizor_inference.errors import ExportError

RECIPE = Recipe(most_steps=200, steps_between=20)


def blobs(count: int, seed: int, distance: float = 4.0) -> Examples:
    """Points of two classes, each a recording."""
    random = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % 2
    rows = torch.randn(count, 3, generator=random) + distance * classes[:, None]
    return Examples(rows, classes, torch.arange(count))


def trained(seed: int, recipe: Recipe = RECIPE) -> tuple[nn.Module, dict[str, list[float]]]:
    torch.manual_seed(seed)
    network = build("fc16 drop0.2 fc", 2, (3,))
    curve = Training(network, nn.Identity(), torch.ones(2), seed).run(blobs(100, 0), blobs(40, 1), recipe)
    return network, curve


def test_it_learns_and_the_curve_says_so() -> None:
    network, curve = trained(0)
    assert not network.training
    assert curve["loss of held-out items"][-1] < curve["loss of held-out items"][0]
    assert curve["accuracy on held-out items"][-1] > 0.95
    assert len({len(values) for values in curve.values()}) == 1


def test_the_same_seed_gives_the_same_network() -> None:
    first, again, other = (trained(seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_it_ends_when_held_out_items_are_no_longer_told_apart_better() -> None:
    """With labels at random there is nothing to learn, and the weights stay those of the best measurement."""
    examples, held_out = blobs(64, 0, distance=0.0), blobs(64, 1, distance=0.0)
    network = build("fc64 fc", 2, (3,))
    training = Training(network, nn.Identity(), torch.ones(2), 0)
    recipe = Recipe(most_steps=10_000, steps_between=5, patience=2, times=2)
    curve = training.run(examples, held_out, recipe)
    assert len(curve["training loss"]) < 10_000 / 5
    assert training.measure(held_out)[0] <= min(curve["loss of held-out items"]) * 1.002


def test_what_no_step_improves_stays_as_it_was() -> None:
    network = build("fc64 fc", 2, (3,))
    Training(network, nn.Identity(), torch.ones(2), 0).run(blobs(100, 0), blobs(40, 1), Recipe(300, 20))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    turned = Examples(blobs(64, 2).rows, 1 - blobs(64, 2).classes, torch.arange(64))  # labels that teach the contrary
    Training(network, nn.Identity(), torch.ones(2), 0).run(turned, blobs(40, 1), RECIPE)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_the_probabilities_of_a_recording_are_the_mean_of_its_windows() -> None:
    rows = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    examples = Examples(rows, torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    training = Training(nn.Identity(), nn.Identity(), torch.tensor([1.0, 3.0]))
    expected = torch.softmax(rows, dim=1)
    found = training.probabilities(examples)
    torch.testing.assert_close(found, torch.stack([(expected[0] + expected[1]) / 2, expected[2]]))
    losses = -torch.log(torch.stack([found[0, 0], found[1, 1]]))
    loss, accuracy = training.measure(examples)
    assert loss == pytest.approx(float((losses[0] + 3 * losses[1]) / 4))
    assert accuracy == 1.0


def test_each_class_adds_the_same_to_the_loss() -> None:
    counts = torch.tensor([10, 30, 60])
    torch.testing.assert_close(class_weights(counts) * counts, torch.full((3,), 100 / 3))


def test_a_class_of_three_items_does_not_outweigh_the_others() -> None:
    weights = class_weights(torch.tensor([3, 100, 100, 100]))
    assert weights[0] == 5
    torch.testing.assert_close(weights[1:], torch.full((3,), 303 / 400))


def test_no_batch_has_a_single_row() -> None:
    """Batch norm cannot be trained with one; 33 rows are a batch of 32 and one left."""
    Training(build("fc4bn fc", 2, (3,)), nn.Identity(), torch.ones(2)).run(blobs(33, 0), blobs(4, 1), Recipe(4, 2))


@pytest.mark.parametrize("shape", [(1,), (40,), (1, 16), (3, 1000), (1, 8, 8), (3, 96, 40), (1, 28, 28), (3, 224, 224)])
def test_the_suggested_network_fits(shape: tuple[int, ...]) -> None:
    network = build(suggested_spec(shape), 3, shape).eval()
    assert network(torch.zeros(2, *shape)).shape == (2, 3)
    assert multiply_adds(network, shape) < 3e8


@pytest.mark.parametrize("shape", [(1, 40, 50), (2, 64, 3), (1, 4, 300)])
def test_the_suggested_network_for_sound_fits(shape: tuple[int, ...]) -> None:
    assert build(suggested_spec(shape, is_sound=True), 3, shape).eval()(torch.zeros(2, *shape)).shape == (2, 3)


def test_multiply_adds_are_those_of_the_layers() -> None:
    assert multiply_adds(build("conv4 fc8 fc", 2, (1, 6, 6)), (1, 6, 6)) == 36 * 4 * 9 + 144 * 8 + 8 * 2


@pytest.fixture(scope="module")
def densenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "densenet121.pth"
    torch.save(models.densenet121(weights=None).state_dict(), path)
    return path


def test_published_weights_are_taken_but_for_the_last_layer(densenet: Path) -> None:
    design = Design("densenet121", {"layout": "torchvision"})
    network, file = with_published_weights(design, 5, (3, 32, 32), densenet), torch.load(densenet)
    own = network.state_dict()
    assert own["classifier.weight"].shape == (5, 1024)
    same = [name for name in own if not name.startswith("classifier")]
    assert all(torch.equal(own[name], file[name]) for name in same)


def test_weights_of_another_architecture_are_refused(densenet: Path) -> None:
    with pytest.raises(ExportError, match="does not fit the network"):
        with_published_weights(Design("resnet34", {"layout": "torchvision"}), 5, (3, 64, 64), densenet)
    with pytest.raises(ExportError, match="torchvision has no weights for 'zfnet'"):
        with_published_weights(Design("zfnet", {}), 5, (3, 64, 64), densenet)
    with pytest.raises(ExportError, match="take 3 channels, and the items have 1"):
        with_published_weights(Design("densenet121", {}), 5, (1, 64, 64), densenet)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *(("vgg16", DEEP_RATE), ("alexnet", DEEP_RATE), ("zfnet", DEEP_RATE)),
        *(("lenet", FRESH_RATE), ("googlenet", FRESH_RATE), ("resnet34", FRESH_RATE), ("conv16bn pool fc32 fc", FRESH_RATE)),
    ],
)
def test_deep_networks_without_normalisation_are_trained_at_a_lower_rate(name: str, rate: float) -> None:
    with torch.device("meta"):
        network = build(name, 3, (1, 32, 32) if name == "lenet" else (3, 64, 64))
    assert first_rate(network) == rate
