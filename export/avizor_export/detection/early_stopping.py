"""Train an autoencoder until the error of normal items that were held out no longer falls."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

RATE = 2e-3
BATCH = 64
# The held-out error is measured after so many steps. After PATIENCE measurements without a new lowest one, the rate is divided
# by SLOWER, from the best weights on; after so many TIMES, the training ends.
STEPS_BETWEEN = 60
PATIENCE = 6
SLOWER = 4
TIMES = 3
LEAST_GAIN = 0.002  # as a share: smaller ones are chance


def train_until_flat(
    network: nn.Module, items: Tensor, held_out: Tensor, *, most_steps: int, seed: int = 0
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
    errors, lowest, best, waited, times = list[float](), float("inf"), copy.deepcopy(network.state_dict()), 0, 0
    network.train()
    for step, batch in enumerate(_batches(items, most_steps), 1):
        loss = nn.functional.mse_loss(network(batch), batch)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        if step % STEPS_BETWEEN:
            continue
        errors.append(_error(network, held_out))
        if errors[-1] < lowest * (1 - LEAST_GAIN):
            lowest, best, waited = errors[-1], copy.deepcopy(network.state_dict()), 0
            continue
        waited += 1
        if waited == PATIENCE:
            waited, times = 0, times + 1
            network.load_state_dict(best)
            if times == TIMES:
                break
            for group in optimiser.param_groups:
                group["lr"] /= SLOWER
    if errors:
        network.load_state_dict(best)
    network.eval()
    return {"error of held-out items": errors}


def _batches(items: Tensor, count: int) -> Iterator[Tensor]:
    """Yield so many random batches of at least two items, each item once before any again."""
    while count > 0:
        for places in torch.randperm(len(items)).split(BATCH):
            if len(places) > 1 and count > 0:
                count -= 1
                yield items[places]


def _error(network: nn.Module, items: Tensor) -> float:
    network.eval()
    with torch.no_grad():
        total = sum(float(((network(batch) - batch) ** 2).flatten(1).mean(dim=1).sum()) for batch in items.split(256))
    network.train()
    return total / len(items)
