"""Train an autoencoder until the error of normal items that were held out no longer falls."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from avizor_export.detection.scores import mean_error

RATE = 2e-3
BATCH = 64
# The held-out error is measured after so many steps. For the others see EarlyStopping.
STEPS_BETWEEN = 60
PATIENCE = 6
SLOWER = 4
TIMES = 3
FEWEST_STEPS = STEPS_BETWEEN * PATIENCE * TIMES  # after which a training can end early
LEAST_GAIN = 0.002  # as a share: smaller ones are chance

# Is told after each measurement how many steps are done, and how many there are at most.
Watch = Callable[[int, int], None]


def train_until_flat(
    network: nn.Module, items: Tensor, held_out: Tensor, *, most_steps: int, seed: int = 0, watch: Watch | None = None
) -> dict[str, list[float]]:
    """Minimise the mean squared error of the reconstruction, and keep the weights with the lowest error of `held_out`.

    items, held_out: input of the network, float32[n, ...]. Returns the held-out error at each measurement, for the model card.
    The network is in eval mode afterwards. torch is seeded: training on the same machine gives the same network again.
    Raises ValueError with fewer than two items, or none held out.
    """
    if len(items) < 2 or not len(held_out):
        raise ValueError(f"{len(items)} items to train and {len(held_out)} held out; at least 2 and 1 are needed")
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4)
    errors, stopping = list[float](), EarlyStopping(network, optimiser, PATIENCE, SLOWER, TIMES)
    network.train()
    for step, places in enumerate(random_batches(len(items), most_steps, BATCH), 1):
        batch = items[places]
        loss = nn.functional.mse_loss(network(batch), batch)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        if step % STEPS_BETWEEN:
            continue
        errors.append(error_of(network, held_out))
        if watch:
            watch(step, most_steps)
        if stopping.is_over(errors[-1]):
            break
    if errors:
        stopping.take_best()
    network.eval()
    return {"error of held-out items": errors}


class EarlyStopping:
    """Keeps the weights with the lowest loss of held-out items, lowers the rate, and says when the training is over.

    After `patience` measurements without a new lowest one, the rate is divided by `slower`, from the best weights on; after so
    many `times`, the training ends. lowest: the loss of the weights that the network has now; without it, the first is lower.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        patience: int,
        slower: float,
        times: int,
        lowest: float = math.inf,
    ) -> None:
        self._network, self._optimiser = network, optimiser
        self._patience, self._slower, self._times_left = patience, slower, times
        self._lowest, self._best, self._waited = lowest, copy.deepcopy(network.state_dict()), 0

    def is_over(self, loss: float) -> bool:
        """Take note of the loss of the weights that the network has now, and return whether the training ends."""
        if loss < self._lowest * (1 - LEAST_GAIN):
            self._lowest, self._best, self._waited = loss, copy.deepcopy(self._network.state_dict()), 0
            return False
        self._waited += 1
        if self._waited == self._patience:
            self._waited = 0
            self._times_left -= 1
            self.take_best()
            for group in self._optimiser.param_groups:
                group["lr"] /= self._slower
        return not self._times_left

    def take_best(self) -> None:
        """Give the network its best weights."""
        self._network.load_state_dict(self._best)


def random_batches(items: int, count: int, size: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
    """Yield the places of so many random batches, each item once before any again.

    A batch has at least two items, which batch norm needs. generator: None for that of torch.
    """
    while count > 0:
        for places in torch.randperm(items, generator=generator).split(size):
            if len(places) > 1 and count > 0:
                count -= 1
                yield places


def error_of(network: nn.Module, items: Tensor) -> float:
    """Return the mean squared error of the reconstruction of features, float32[n, ...]. The network's mode stays."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        total = sum(float(mean_error((network(batch) - batch) ** 2).sum()) for batch in items.split(256))
    network.train(was_training)
    return total / len(items)
