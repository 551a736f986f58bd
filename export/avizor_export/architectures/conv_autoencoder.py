"""A convolutional autoencoder through a narrow vector."""

from __future__ import annotations

from torch import Tensor, nn


class ConvAutoencoder(nn.Module):
    """float32[batch, channels, height, width] -> its reconstruction, of the same shape.

    Three convolutions of stride 2 and a linear layer to `latent` numbers (`encoder`), and the same way back (`decoder`).
    The vector has to be narrow: one wide enough to copy its input reconstructs faults as well as it does normal items.

    height, width: both divisible by 8. base: channels after the first convolution; then twice and four times as many.
    """

    def __init__(self, height: int = 64, width: int = 64, channels: int = 1, base: int = 16, latent: int = 24) -> None:
        super().__init__()
        if height % 8 or width % 8:
            raise ValueError(f"an input of {height} x {width} cannot be halved three times; use multiples of 8")
        deep = (4 * base, height // 8, width // 8)
        features = deep[0] * deep[1] * deep[2]
        self.encoder = nn.Sequential(
            _down(channels, base),
            _down(base, 2 * base),
            _down(2 * base, 4 * base),
            nn.Flatten(),
            nn.Linear(features, latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, features),
            nn.LeakyReLU(0.1),
            nn.Unflatten(1, deep),
            _up(4 * base, 2 * base),
            _up(2 * base, base),
            nn.ConvTranspose2d(base, channels, kernel_size=4, stride=2, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Reconstruction."""
        reconstruction: Tensor = self.decoder(self.encoder(image))
        return reconstruction


def _down(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1))


def _up(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1))
