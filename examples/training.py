"""Train the networks of the examples, and run a module over many items."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Augment = Callable[[Tensor], Tensor]
# The values of each curve by epoch, for the plot in the model card.
History = dict[str, list[float]]


def train_classifier(
    network: nn.Module,
    items: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    augment: Augment | None = None,
    seed: int = 0,
    batch_size: int = 32,
    peak_rate: float = 3e-3,
) -> History:
    """Minimise the cross-entropy. items: input of the network, float32[n, ...]. labels: int64[n]."""

    def loss(index: Tensor) -> Tensor:
        batch = augment(items[index]) if augment else items[index]
        return nn.functional.cross_entropy(network(batch), labels[index], label_smoothing=0.05)

    return minimise(network, loss, len(items), epochs=epochs, seed=seed, batch_size=batch_size, peak_rate=peak_rate)


def train_autoencoder(
    network: nn.Module,
    items: Tensor,
    *,
    epochs: int,
    augment: Augment | None = None,
    corrupt: Augment | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> History:
    """Minimise the mean squared error of the reconstruction of normal items, float32[n, ...].

    corrupt: changes the items that are the network's input, but not those that it has to reconstruct: noise for denoising,
    shrinking for super-resolution.
    """

    def loss(index: Tensor) -> Tensor:
        batch = augment(items[index]) if augment else items[index]
        return nn.functional.mse_loss(network(corrupt(batch) if corrupt else batch), batch)

    return minimise(network, loss, len(items), epochs=epochs, seed=seed, batch_size=batch_size)


def minimise(
    network: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    count: int,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 32,
    peak_rate: float = 3e-3,
) -> History:
    """Train with AdamW and a one-cycle schedule over `count` items, and return the mean loss of each epoch.

    loss_of: returns the loss of the items with the indices int64[n]. The network is in eval mode afterwards. torch is seeded,
    so that training on the same machine gives the same network again.
    """
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=peak_rate, weight_decay=1e-3)
    steps = epochs * math.ceil(count / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak_rate, total_steps=steps)
    losses = []
    network.train()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for index in torch.randperm(count).split(batch_size):
            loss = loss_of(index)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(index)
        losses.append(total / count)
        if epoch % max(1, epochs // 5) == 0:
            print(f"  epoch {epoch:3d} of {epochs}: loss {losses[-1]:.4f}", flush=True)
    network.eval()
    return {"training loss": losses}


def random_crops(frames: int) -> Augment:
    """Return a function that cuts `frames` frames at a random position out of each spectrogram [n, 1, bands, >= frames]."""

    def crop(spectrograms: Tensor) -> Tensor:
        starts = torch.randint(0, spectrograms.shape[3] - frames + 1, (len(spectrograms),))
        index = starts[:, None] + torch.arange(frames)
        return spectrograms.gather(3, index[:, None, None, :].expand(-1, 1, spectrograms.shape[2], -1))

    return crop


def in_batches(module: nn.Module, items: Tensor, batch_size: int = 256) -> Tensor:
    """Run a module over items without gradients: [n, ...] -> [n, ...]."""
    module.eval()
    with torch.no_grad():
        return torch.cat([module(batch) for batch in items.split(batch_size)])
