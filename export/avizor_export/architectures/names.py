"""Name the architectures, for a command line that does not wait for torch."""

from __future__ import annotations

NAMES = ("lenet", "alexnet", "zfnet", "googlenet", "vgg16", "resnet34", "densenet121")
