"""Networks and files of the table that no package has: small modules with random weights, and files made from packages.

Each factory returns the same weights at every call.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


def _lively(network: nn.Module, size: int) -> nn.Module:
    """Let a new network return something else for each image: a proof on outputs that are all the same would prove nothing.

    Batch norms take their statistics from random images, half of them noise, as training does, and a small scale: deep random
    networks amplify roundings more than trained ones do. What begins as zero or nearly so, such as the scale of a layer, is
    made random.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() and parameter.abs().max() < 1e-4:
                parameter.normal_(0, 0.1)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean over all batches
                module.weight.fill_(0.15)
        noise = torch.rand(4, 3, size, size)
        # Noise alone looks the same to deep layers: their norms would then amplify what little differs, roundings too.
        smooth = nn.functional.interpolate(torch.rand(4, 3, 4, 4), size, mode="bilinear")
        pixels = torch.cat([noise, smooth])
        network.train()((pixels - 0.45) / 0.225)  # about ImageNet's mean and standard deviation
    return network.eval()


def of_torchvision(name: str, size: int = 224, **settings: object) -> nn.Module:
    """Return a network of torchvision with random weights, lively for images of this size. settings: of its factory."""
    import torchvision

    return _seeded(lambda: _lively(torchvision.models.get_model(name, weights=None, **settings), size))


def of_timm(name: str, size: int = 224) -> nn.Module:
    """Return a network of timm with random weights, lively for images of this size."""
    import timm

    return _seeded(lambda: _lively(timm.create_model(name), size))


class DnCnn(nn.Module):
    """A denoiser after Zhang et al. 2017: predicts the noise of images [N, 1, H, W], and returns them without it."""

    def __init__(self, depth: int = 8, channels: int = 32) -> None:
        super().__init__()
        middle = [
            layer
            for _ in range(depth - 2)
            for layer in (nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        ]
        first, last = nn.Conv2d(1, channels, 3, padding=1), nn.Conv2d(channels, 1, 3, padding=1)
        self.noise = nn.Sequential(first, nn.ReLU(), *middle, last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the images without the predicted noise."""
        clean: Tensor = images - self.noise(images)
        return clean


class UNet(nn.Module):
    """A U-Net of two levels after Ronneberger et al. 2015, that reconstructs images [N, C, H, W]."""

    def __init__(self, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.down1, self.down2 = self._block(channels, width), self._block(width, 2 * width)
        self.bottom = self._block(2 * width, 4 * width)
        self.up2, self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join2, self.join1 = self._block(4 * width, 2 * width), self._block(2 * width, width)
        self.last, self.pool = nn.Conv2d(width, channels, 1), nn.MaxPool2d(2)

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstruction [N, C, H, W]."""
        first = self.down1(images)
        second = self.down2(self.pool(first))
        bottom = self.bottom(self.pool(second))
        joined = self.join2(torch.cat([self.up2(bottom), second], 1))
        reconstruction: Tensor = self.last(self.join1(torch.cat([self.up1(joined), first], 1)))
        return reconstruction


class Tokens(nn.Module):
    """A transformer encoder over tokens [N, 32] of 256 kinds."""

    def __init__(self, classes: int = 4, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, width)
        self.position = nn.Parameter(torch.randn(1, 32, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [N, classes]."""
        logits: Tensor = self.last(self.encoder(self.embed(tokens) + self.position).mean(1))
        return logits


class Recurrent(nn.Module):
    """A GRU over a series [N, C, L], whose last state is classified."""

    def __init__(self, channels: int, classes: int = 4, width: int = 32) -> None:
        super().__init__()
        self.gru, self.last = nn.GRU(channels, width, batch_first=True), nn.Linear(width, classes)

    def forward(self, series: Tensor) -> Tensor:
        """Return logits [N, classes]."""
        logits: Tensor = self.last(self.gru(series.transpose(1, 2))[0][:, -1])
        return logits


class DictOutput(nn.Module):
    """A classifier of images that returns a dict, as many libraries' do."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits [N, classes] and the features [N, 8]."""
        features = self.features(images)
        return {"features": features, "clipwise_output": self.last(features)}


def dict_output() -> nn.Module:
    """Return a classifier that returns a dict."""
    return _seeded(DictOutput)


def dncnn() -> nn.Module:
    """Return a denoiser of grey images."""
    return _seeded(DnCnn)


def unet() -> nn.Module:
    """Return a U-Net of colour images."""
    return _seeded(UNet)


def tokens() -> nn.Module:
    """Return a classifier of tokens."""
    return _seeded(Tokens)


def gru(channels: int) -> nn.Module:
    """Return a recurrent classifier of signals."""
    return _seeded(lambda: Recurrent(channels))


def one_logit() -> nn.Module:
    """Return a binary classifier of grey images with one logit."""
    return _seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 1)
        )
    )


def log_mel_cnn(classes: int = 10) -> nn.Module:
    """Return a CNN over log-mels [N, 1, mels, frames], in the manner of PANNs' CNN6."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 5, padding=2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.AvgPool2d(2)]

    return _seeded(
        lambda: nn.Sequential(
            *block(1, 16), *block(16, 32), *block(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)
        )
    )


def resnet_of_log_mels(classes: int = 10) -> nn.Module:
    """Return torchvision's ResNet-18 for one channel."""

    def build() -> nn.Module:
        from torchvision.models import resnet18

        network: nn.Module = resnet18(num_classes=classes)
        network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        return network

    return _seeded(build)


def waveform_net(classes: int = 35) -> nn.Module:
    """Return M5 (Dai et al. 2016) over waveforms [N, samples], with a channel added."""

    def block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv1d(inputs, outputs, kernel, stride), nn.BatchNorm1d(outputs), nn.ReLU(), nn.MaxPool1d(4)]

    return _seeded(
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, -1)), *block(1, 32, 80, 16), *block(32, 32, 3), *block(32, 64, 3),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, classes),
        )
    )  # fmt: skip


def waveform_net_of_channels(classes: int = 35) -> nn.Module:
    """Return M5 over waveforms [N, 1, samples]."""
    return nn.Sequential(*list(waveform_net(classes).children())[1:])


def signal_cnn(channels: int, classes: int = 5) -> nn.Module:
    """Return a CNN over signals [N, channels, length], as for an ECG."""
    return _seeded(
        lambda: nn.Sequential(
            nn.Conv1d(channels, 16, 7, 2, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 32, 5, 2, 2), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, classes),
        )
    )  # fmt: skip


def table_mlp(columns: int, classes: int = 3) -> nn.Module:
    """Return a perceptron of three layers over rows [N, columns]."""
    return _seeded(
        lambda: nn.Sequential(
            nn.Linear(columns, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, classes)
        )
    )


def save_design(path: Path, design: str, shape: tuple[int, ...], classes: int) -> None:
    """Write the state dict of an architecture or spec with random weights."""
    from avizor_export.architectures.catalogue import build, build_autoencoder
    from avizor_export.architectures.spec_grammar import reconstructs

    torch.manual_seed(0)
    network = build_autoencoder(design, shape) if reconstructs(design) else build(design, classes, shape)
    torch.save(network.state_dict(), path)


def save_program(path: Path) -> None:
    """Write torchvision's MobileNet v3 with random weights as an exported program."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        of_torchvision("mobilenet_v3_small", 96, num_classes=10), (torch.zeros(2, 3, 96, 96),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, path)


def save_legacy_onnx(path: Path) -> None:
    """Write torchvision's SqueezeNet with random weights as `torch.onnx.export` does by default: with a batch of one."""
    torch.onnx.export(
        of_torchvision("squeezenet1_1", 96, num_classes=10),
        (torch.zeros(1, 3, 96, 96),),
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def save_sklearn(path: Path, estimator: str) -> None:
    """Fit an estimator of scikit-learn on its digits, and write it as skl2onnx converts it, with probabilities as a tensor."""
    import skl2onnx
    from sklearn.datasets import load_digits
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimators = {
        "forest": RandomForestClassifier(20, max_depth=8, random_state=0),
        "boosting": GradientBoostingClassifier(n_estimators=10, max_depth=3, random_state=0),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        "perceptron": MLPClassifier((32,), max_iter=100, random_state=0),
    }
    items, labels = load_digits(return_X_y=True)
    fitted = estimators[estimator].fit(items.astype(np.float32), labels)
    opsets = {"": 18, "ai.onnx.ml": 3}
    proto = skl2onnx.to_onnx(fitted, items[:1].astype(np.float32), options={"zipmap": False}, target_opset=opsets)
    path.write_bytes(proto.SerializeToString())


def save_quantised(path: Path) -> None:
    """Write torchvision's ResNet-18 with random weights, quantised by ONNX Runtime's tool to int8 (QDQ)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    full, batch = path.with_name("fp32.onnx"), ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        of_torchvision("resnet18", 64, num_classes=10), (torch.zeros(2, 3, 64, 64),), full, dynamo=True, opset_version=18,
        dynamic_shapes=batch, input_names=["x"], external_data=False, verbose=False,
    )  # fmt: skip

    class Items(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._items = iter(np.random.default_rng(0).standard_normal((8, 1, 3, 64, 64)).astype(np.float32))

        def get_next(self) -> dict[str, object] | None:
            item = next(self._items, None)
            return None if item is None else {"x": item}

    quantize_static(
        full, path, Items(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        per_channel=True, extra_options={"ActivationSymmetric": True},
    )  # fmt: skip
