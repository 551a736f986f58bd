"""Merge config.overrides.pbtxt, the fields that a user sets, over the generated config.pbtxt at each export and tune.

A value replaces the generated one, and so does a whole list. `parameters` (of the model and of an accelerator) are merged by
key, accelerators by name. An empty value removes a field: `model_warmup: []`, or a parameter whose value is "".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_export.triton_config.settings import ServingSettings, serving_of, shown
from avizor_inference.error_text import one_line, reason, remedy
from avizor_inference.errors import AvizorError, ExportError
from avizor_inference.regular_files import read_regular
from avizor_inference.repository.triton_config import OVERRIDES_FILE, digests_in, parse_config

# The fields that may not be set, since export proves them or computes others from them, and what to do instead.
_TAKE_OUT = "export determines it; take it out"
_FIXED = {
    **dict.fromkeys(("name", "backend", "platform", "default_model_filename", "input", "output"), _TAKE_OUT),
    "max_batch_size": "warm-ups and TensorRT's profiles depend on it; give --max-batch-size to avizor export instead",
}
_GENERATED = "the generated configuration"
_ACCELERATORS = ("gpu_execution_accelerator", "cpu_execution_accelerator")
_EMPTY_LIST = re.compile(r"(\w+)\s*:?\s*\[\s*\]")
_COMMENT = re.compile(r"#.*")


@dataclass(frozen=True)
class Overrides:
    """Hold the overrides of one model. path: of the file. text: its content; empty if it does not exist."""

    path: Path
    text: str = ""

    def text_over(self, generated: str, settings: ServingSettings, asked: Collection[str] = ()) -> str:
        """Return the text of a configuration with the overrides merged over it, see `merged_over`.

        Paragraphs whose fields are not overridden keep their text and comments; all other fields follow at the end.
        """
        before = parse_config(generated, _GENERATED)
        merged = self.merged_over(before, settings, asked)
        if merged == before:
            return generated
        return _arranged(generated, merged, {field.name for field, _ in self._parsed().ListFields()} | self._removed())

    def merged_over(self, generated: ModelConfig, settings: ServingSettings, asked: Collection[str] = ()) -> ModelConfig:
        """Return a configuration with the overrides merged over it.

        settings: those that `generated` was generated from. asked: names of the settings that an option or tune asks for now.
        Raises ExportError, naming the field, for an override that is not allowed, is not valid, or hides a setting in `asked`;
        RepositoryError for text that cannot be parsed.
        """
        merged = ModelConfig()
        merged.CopyFrom(generated)
        _clear_lists(merged, self._parsed())
        for name in self._removed():
            merged.ClearField(name)
        text_format.Merge(self.text, merged)  # the text, since a parsed message does not distinguish 0 from an unset field
        _join_accelerators(merged)
        _remove_empty_parameters(merged)
        self._check_fixed(generated, merged)
        self._check_settings(merged, settings, asked)
        return merged

    def _parsed(self) -> ModelConfig:
        return parse_config(self.text, str(self.path))

    def _removed(self) -> set[str]:
        """Return the fields that are set to an empty list. Raises ExportError where that has no effect: within a message."""
        text = _COMMENT.sub("", self.text)
        empty = _EMPTY_LIST.findall(text)
        removed = {match[1] for line in text.splitlines() if (match := _EMPTY_LIST.match(line))}
        if nested := [name for name in empty if name not in removed]:
            raise ExportError(
                f"{self.path}: an empty list removes only a field at the beginning of a line; {nested[0]} is within another: "
                "write the whole list instead"
            )
        return removed

    def _check_fixed(self, before: ModelConfig, merged: ModelConfig) -> None:
        """Raise ExportError if a field is changed that export determines."""
        for name, instead in _FIXED.items():
            if getattr(merged, name) != getattr(before, name):
                raise ExportError(f"{self.path} changes {name}: {instead}")
        if digests_in(merged) != digests_in(before):
            raise ExportError(f"{self.path} changes the digest of a version: {_TAKE_OUT}")
        if (scheduling := merged.WhichOneof("scheduling_choice")) != "dynamic_batching":
            raise ExportError(f"{self.path} sets {scheduling}, which does not fit a model without state: take it out")

    def _check_settings(self, merged: ModelConfig, settings: ServingSettings, asked: Collection[str]) -> None:
        """Raise ExportError if a setting that is asked for would have no effect, or if a value is not valid."""
        try:
            effective = serving_of(merged)
        except AvizorError as error:
            raise ExportError(f"{self.path}: {error}; correct it there") from error
        for name in asked:
            requested, actual = getattr(settings, name), getattr(effective, name)
            if requested != actual:
                raise ExportError(
                    f"{self.path} sets {name} to {shown(actual)}, so that {shown(requested)} would have no effect: take it out "
                    "there, or do not ask for another value"
                )


def read_overrides(folder: Path) -> Overrides:
    """Read the overrides in a model's folder, if there are any. Raises ExportError if the file cannot be read."""
    path = folder / OVERRIDES_FILE
    try:
        return Overrides(path, read_regular(path).decode())
    except FileNotFoundError:
        return Overrides(path)
    except OSError as error:
        raise ExportError(
            f"{path} cannot be read ({reason(error)}); {remedy(error, 'make it readable, or delete it')}"
        ) from error
    except UnicodeDecodeError as error:
        raise ExportError(f"{path} cannot be read ({one_line(error)}); make it readable, or delete it") from error


def _clear_lists(config: Message, overrides: Message) -> None:
    """Clear the lists that the overrides set, so that these replace them. Keep the lists that are merged."""
    for field, value in overrides.ListFields():
        if isinstance(value, Message):
            _clear_lists(getattr(config, field.name), value)
        elif isinstance(value, Sequence) and not isinstance(value, Mapping | str | bytes) and field.name not in _ACCELERATORS:
            config.ClearField(field.name)


def _join_accelerators(config: ModelConfig) -> None:
    """Merge accelerators of the same name, since text_format appends those of the overrides."""
    if not config.optimization.HasField("execution_accelerators"):
        return
    for name in _ACCELERATORS:
        accelerators = getattr(config.optimization.execution_accelerators, name)
        joined: dict[str, Message] = {}
        for accelerator in accelerators:
            if accelerator.name in joined:
                joined[accelerator.name].MergeFrom(accelerator)
            else:
                joined[accelerator.name] = type(accelerator).FromString(accelerator.SerializeToString())
        del accelerators[:]
        accelerators.extend(joined.values())


def _remove_empty_parameters(config: ModelConfig) -> None:
    for key in [key for key, parameter in config.parameters.items() if not parameter.string_value]:
        del config.parameters[key]
    accelerators = config.optimization.execution_accelerators
    for accelerator in (*accelerators.gpu_execution_accelerator, *accelerators.cpu_execution_accelerator):
        for key in [key for key, value in accelerator.parameters.items() if not value]:
            del accelerator.parameters[key]


def _arranged(generated: str, merged: ModelConfig, overridden: set[str]) -> str:
    """Return the paragraphs of the generated text whose fields are not overridden, then all other fields of `merged`."""
    rest, paragraphs = ModelConfig(), []
    rest.CopyFrom(merged)
    for paragraph in generated.rstrip("\n").split("\n\n"):
        names = {field.name for field, _ in parse_config(paragraph, _GENERATED).ListFields()}
        if not names & overridden:
            paragraphs.append(paragraph)
            for name in names:
                rest.ClearField(name)
    if rest.ListFields():
        paragraphs.append(f"# With what {OVERRIDES_FILE} sets:\n{text_format.MessageToString(rest, as_utf8=True).rstrip()}")
    return "\n\n".join(paragraphs) + "\n"
