"""Hold and check the command line of `avizor export`. Nothing here loads torch: an option that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
from pydantic import JsonValue

from avizor_export.triton_config.cli_options import chosen_options
from avizor_export.triton_config.settings import ServingOptions
from avizor_inference.calibration_options import check_columns, check_limit, check_sources
from avizor_inference.items.dataset import Columns
from avizor_inference.items.windows import ChannelMode
from avizor_inference.repository.manifest import Activation, Precision, Task

_WEIGHTS_INSIDE = "an .onnx file has its weights inside"
_NOT_FOR_CLASSIFIERS = "is for autoencoders, whose scores get p-values by it; give real items with --items"


@dataclass(frozen=True)
class ExportArguments:
    """Hold the command line of `avizor export`: a field for each option. serving: the serving options that were given."""

    network: str
    name: str
    models: Path
    task: Task
    input: str | None
    labels: Path | None
    weights: str | None
    weights_key: str | None
    weights_in_factory: bool
    settings: Mapping[str, JsonValue]
    output: str | None
    activation: Activation | None
    thresholds: str | None
    embedding: str | None
    free_batch: bool
    fit_on: Path | None
    items: Path | None
    verify_with: str | None
    evaluate_on: Path | None
    evaluation: Path | None
    training: Path | None
    calibrate: Path | None
    source_pattern: str
    path_column: str
    source_column: str
    bytes_column: str
    channels: ChannelMode
    limit: int | None
    int8: bool
    fp16: bool
    max_drop: float
    leave_out: tuple[str, ...]
    serving: ServingOptions

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ExportArguments:
        """Return the arguments for click's values, which are named as the fields; all others are serving options."""
        names = {field.name for field in fields(cls)}
        serving = chosen_options({name: value for name, value in options.items() if name not in names})
        return cls(**{name: value for name, value in options.items() if name in names}, serving=serving)

    @property
    def precision(self) -> Precision:
        """Return the precision that is asked for."""
        return "int8" if self.int8 else "fp16" if self.fp16 else "fp32"

    @property
    def columns(self) -> Columns:
        """Return the columns that are asked for."""
        return Columns(self.path_column, self.source_column, self.bytes_column)

    def _data(self) -> dict[str, Path]:
        """Return the data that is given, by its option."""
        options = ("calibrate", "items", "fit_on", "evaluate_on")
        return {f"--{name.replace('_', '-')}": path for name in options if (path := getattr(self, name)) is not None}

    @property
    def is_onnx(self) -> bool:
        """Tell whether the network is an ONNX file, which is adopted."""
        return self.network.endswith(".onnx")

    @property
    def shares_data(self) -> bool:
        """Tell whether --calibrate is within --evaluate-on: the metric is measured on what the model is calibrated with."""
        if self.calibrate is None or self.evaluate_on is None:
            return False
        return self.evaluate_on.resolve() in self.calibrate.resolve().parents

    def check(self) -> None:
        """Raise click.UsageError for options that contradict each other or would have no effect."""
        if self.int8 and self.fp16:
            raise click.UsageError("--int8 and --fp16 are two precisions, and a version has one; give one of them")
        check_sources(self.calibrate, "--calibrate", self.source_pattern, self.columns)
        check_columns(self._data(), self.columns)
        check_limit({option: path for option, path in self._data().items() if option != "--evaluate-on"}, self.limit)
        if self.calibrate is not None and self.evaluate_on is not None:
            _check_separate(self.calibrate, self.evaluate_on)
        if self.task == "classify":
            _refuse(self.calibrate, "--calibrate", _NOT_FOR_CLASSIFIERS)
        else:
            _refuse(self.activation, "--activation", "is how a classifier makes probabilities; leave it out")
            _refuse(self.thresholds, "--thresholds", "are for the probabilities of a classifier; leave them out")
        if self.is_onnx:
            _refuse(self.weights, "--weights", _WEIGHTS_INSIDE)
            _refuse(self.weights_key, "--weights-key", _WEIGHTS_INSIDE)
            _refuse(self.weights_in_factory, "--weights-in-factory", _WEIGHTS_INSIDE)
            _refuse(self.settings, "--set", "an .onnx file is not a factory that takes arguments")
        else:
            _refuse(self.free_batch, "--free-batch", "changes an .onnx file; a torch module is exported with a free batch")
        if self.input is None:
            _refuse(self.fit_on, "--fit-on", "fills in what --input leaves out: give --input too")


def _refuse(value: object, option: str, reason: str) -> None:
    """Raise click.BadParameter if the option has a value."""
    if value:
        raise click.BadParameter(reason, param_hint=option)


def _check_separate(calibrate: Path, evaluate_on: Path) -> None:
    """Raise click.BadParameter if --calibrate contains the anomalies of --evaluate-on."""
    normal, labelled = calibrate.resolve(), evaluate_on.resolve()
    if normal == labelled or normal in labelled.parents:
        _refuse(
            calibrate, "--calibrate", "contains the labelled data of --evaluate-on, anomalies too; give a folder of normal data"
        )
