"""Describe the images that a network was trained on by what comes with it: torchvision's transforms, a timm module's config."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from torch import nn

from avizor_inference.errors import ExportError
from avizor_inference.items.input_spec import ImageInput, InputSpec
from avizor_inference.items.kinds.short_form import pairs_of
from avizor_inference.strict_json import validation_message

_log = logging.getLogger(__name__)

# What timm takes for what a config leaves out (timm.data.resolve_data_config).
_TIMM_DEFAULTS: Mapping[str, Any] = {
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}

Constants = tuple[Sequence[float], Sequence[float]]  # mean, std per channel, on the 0..1 scale


def transforms_input(transforms: Any, normalisation: Constants | None = None) -> ImageInput:
    """Return what the transforms of torchvision's weights (an ImageClassification) do. normalisation: instead of theirs.

    Images of Pillow are always antialiased there.
    """
    mean, std = normalisation or (transforms.mean, transforms.std)
    described = {
        "crop": tuple(transforms.crop_size),
        "channels": len(mean),
        "resize": tuple(transforms.resize_size),
        "filter": transforms.interpolation.value,
        "front_end": {"mean": tuple(mean), "std": tuple(std)},
    }
    return ImageInput.model_validate(described)


def timm_input(network: nn.Module, for_tests: bool = False) -> ImageInput | None:
    """Return what `timm.data.create_transform` does for a module of timm, by its own config; None for any other module.

    for_tests: of the sizes with which timm tests it, which may be larger; else of those of the training, as
    `timm.data.resolve_model_data_config` chooses. Raises ExportError for a config that cannot be followed.
    """
    config = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
    if not isinstance(config, Mapping) or len(config.get("input_size") or ()) != 3:
        return None
    known = {name: value for name, value in config.items() if value is not None}
    sizes = {name: known.get(f"test_{name}", known.get(name)) for name in ("input_size", "crop_pct")} if for_tests else {}
    try:
        return ImageInput.model_validate(_timm_fields({**_TIMM_DEFAULTS, **known, **sizes}))
    except ValidationError as error:
        raise ExportError(
            f"the network's pretrained_cfg cannot be followed ({validation_message(error)}); say with --input what one image is"
        ) from error


def own_input(network: nn.Module) -> ImageInput | None:
    """Return the input of a module of timm, and log that it is tested with another one; None for any other module."""
    own, tested = timm_input(network), timm_input(network, for_tests=True)
    if own and tested and own != tested:
        _log.warning("the input is that of the network's training; timm tests it with --input image:%s", pairs_of(tested))
    return own


def warn_of_differences(spec: InputSpec, own: ImageInput, owner: str, leave_out: Collection[str] = ()) -> None:
    """Log how --input differs from the network's own description. leave_out: fields that do not count."""
    if not isinstance(spec, ImageInput):
        return
    ours, theirs = _comparable(spec), _comparable(own)
    names = [name for name in theirs if ours[name] != theirs[name] and name not in leave_out]
    if names:
        _log.warning("%s: %s; --input differs in these: leave it out to take them", owner, pairs_of(own, names))


def _timm_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the description, read as by timm.data.transforms_factory.transforms_imagenet_eval."""
    channels, *size = config["input_size"]
    mode, mean, std = config["crop_mode"], tuple(config["mean"]), tuple(config["std"])
    resize = [math.floor(side / config["crop_pct"]) for side in size]
    fields: dict[str, Any] = {"resize": resize, "fit": "shorter"}
    if mode == "squash":
        fields = {"resize": resize, "fit": "stretch"}
    elif mode == "border":
        fields = {"resize": resize, "fit": "letterbox", "pad": [round(255 * value) for value in mean]}
    elif resize[0] == resize[1]:
        fields = {"resize": resize[:1], "fit": "shorter"}
    shown = {"crop": size, "channels": channels, "filter": config["interpolation"], "front_end": {"mean": mean, "std": std}}
    return {**shown, **fields}


def _comparable(spec: ImageInput) -> dict[str, object]:
    """Return the fields by name, so that equal ones do the same: constants of each channel on one scale, and a whole box."""
    mean, std = scaling(spec)
    box = spec.resize or (spec.height, spec.width)
    return {
        **{name: getattr(spec, name) for name in ("height", "width", "channels", "fit", "filter", "antialias")},
        "resize": (box[0], box[-1]),
        "order": spec.front_end.order,
        "mean": mean,
        "std": std,
    }


def scaling(spec: ImageInput) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of each channel, on the 0..1 scale."""
    mean, std = spec.front_end.on_unit_scale()
    return (mean * spec.channels if len(mean) == 1 else mean), (std * spec.channels if len(std) == 1 else std)
