"""Name the architectures and their layouts, for a command line that does not wait for torch."""

from __future__ import annotations

from typing import Literal, get_args

NAMES = ("lenet", "alexnet", "zfnet", "googlenet", "vgg16", "resnet34", "densenet121")

Layout = Literal["torchvision", "adapted"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
