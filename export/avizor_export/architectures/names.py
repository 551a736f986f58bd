"""Name the architectures and their layouts, for a command line that does not wait for torch."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal, get_args

NAMES = ("lenet", "alexnet", "zfnet", "googlenet", "vgg16", "resnet34", "densenet121")

Layout = Literal["torchvision", "adapted"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def unknown_network(name: str, others: str = "") -> str:
    """Return what is wrong with a name that stands for no network, which was perhaps meant, and how others are written.

    others: what else it might have been, and is not.
    """
    near = get_close_matches(name.casefold(), NAMES, n=1)
    meant = f"did you mean {near[0]!r}? Or " if near else ""
    return (
        f"{name!r} is not an architecture ({', '.join(NAMES)}), a spec, a file or a factory{others}; "
        f"{meant}write package.module:factory, as in torchvision.models:resnet50"
    )
