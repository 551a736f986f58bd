"""Read `config.pbtxt`, Triton's model configuration, with Triton's own protobuf schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_inference.error_text import one_line, reason, remedy
from avizor_inference.errors import RepositoryError
from avizor_inference.items.tensor_spec import DType
from avizor_inference.regular_files import read_regular

CONFIG_FILE = "config.pbtxt"
LABELS_FILE = "labels.txt"

# Parameters of config.pbtxt for values that Triton has no field for. There is one digest per version: DIGEST_PARAMETER_3.
DIGEST_PARAMETER = "avizor_model_sha256"
THREADS_PARAMETER = "intra_op_thread_count"
BATCH_PARAMETER = "avizor_batch_size"
ENGINE_PARAMETER = "avizor_engine"
_DIGITS = 9  # of the largest number in a parameter: every engine's integers can hold it

# Engines that compute in the process that opens them, as `--engine` names them.
EnginesHere = Literal["ort", "openvino", "openvino:bf16"]

# numpy's dtype name -> the name in config.pbtxt and (without TYPE_) on Triton's wire.
TRITON_TYPES: dict[DType, str] = {
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}


def parse_config(text: str, where: str) -> ModelConfig:
    """Parse the text of a config.pbtxt. Raises RepositoryError with the wrong line; `where` names the file in it."""
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        # Its text begins with line and column as `33:1 : `, which not every reader understands.
        place, message = f"line {error.GetLine()}, column {error.GetColumn()}", str(error).partition(" : ")[2] or str(error)
        raise RepositoryError(f"{where} is not a Triton model configuration: {place}: {message}") from error


def read_config(path: Path) -> ModelConfig:
    """Read a model's config.pbtxt. Raises RepositoryError if it cannot be read or parsed."""
    try:
        text = str(read_regular(path), "utf-8")
    except OSError as error:
        raise RepositoryError(f"{path}: cannot be read ({reason(error)}); {remedy(error, 'export the model again')}") from error
    except UnicodeDecodeError as error:
        raise RepositoryError(f"{path}: cannot be read ({one_line(error)}); export the model again") from error
    return parse_config(text, str(path))


def digest_parameter(version: int) -> str:
    """Return the name of the parameter with the sha256 of one version's model.onnx."""
    return f"{DIGEST_PARAMETER}_{version}"


def digest_of_version(config: ModelConfig, version: int) -> str:
    """Return the config's sha256 of a version's model.onnx; empty if it has none."""
    key = digest_parameter(version)
    return str(config.parameters[key].string_value) if key in config.parameters else ""


def digests_in(config: ModelConfig) -> dict[int, str]:
    """Return the sha256 of model.onnx by version, for all versions in the config."""
    numbers = {key: key.removeprefix(f"{DIGEST_PARAMETER}_") for key in config.parameters}
    return {int(number): config.parameters[key].string_value for key, number in numbers.items() if number.isdecimal()}


def intra_op_threads(config: ModelConfig) -> int:
    """Return the threads for one run of the model; 0 if the config leaves them to the engine."""
    return _whole_number(config, THREADS_PARAMETER)


def instance_count(config: ModelConfig) -> int:
    """Return how many copies of the model run side by side (on each GPU, if there are several): at least one."""
    return sum(group.count or 1 for group in config.instance_group) or 1


def call_batch_size(config: ModelConfig) -> int:
    """Return the number of items in one call of a batch job; 0 if the config leaves it to the job."""
    return _whole_number(config, BATCH_PARAMETER)


def tuned_engine(config: ModelConfig) -> EnginesHere | None:
    """Return the engine in this process that `avizor tune` chose for the model; None if it did not. Raises RepositoryError."""
    name = config.parameters[ENGINE_PARAMETER].string_value if ENGINE_PARAMETER in config.parameters else ""
    for engine in get_args(EnginesHere):
        if name == engine:
            return engine  # type: ignore[no-any-return]
    if name:
        raise RepositoryError(
            f"{config.name}: parameter {ENGINE_PARAMETER} is {name!r}; give one of {', '.join(get_args(EnginesHere))}"
        )
    return None


def preferred_batch_size(config: ModelConfig) -> int | None:
    """Return the largest batch size that runs without waiting for more items; None if the config prefers none."""
    return max(config.dynamic_batching.preferred_batch_size, default=None)


def serves_newest(config: ModelConfig, newest: int) -> bool:
    """Return whether Triton serves the newest version: yes, unless version_policy lists other versions only."""
    return not config.version_policy.HasField("specific") or newest in config.version_policy.specific.versions


def served_versions(config: ModelConfig, versions: Sequence[int]) -> list[int]:
    """Return those of a repository's versions that version_policy serves, ascending. versions: all there are, ascending."""
    policy = config.version_policy
    if policy.HasField("specific"):
        return [version for version in versions if version in policy.specific.versions]
    return list(versions if policy.HasField("all") else versions[-max(1, policy.latest.num_versions) :])


def not_served(version: int) -> str:
    """Return the message for a newest version that version_policy leaves out."""
    return f"version_policy does not serve version {version}, so Triton serves older ones; add it there to serve it"


def _whole_number(config: ModelConfig, parameter: str) -> int:
    text = config.parameters[parameter].string_value if parameter in config.parameters else ""
    if text and not (text.isdecimal() and len(text) <= _DIGITS):
        raise RepositoryError(f"{config.name}: parameter {parameter} is {text!r}; give a whole number")
    return int(text or 0)


def asks_for_gpu(config: ModelConfig) -> bool:
    """Return whether an instance group has KIND_GPU. (KIND_AUTO uses a GPU only if there is one.)"""
    return any(group.kind == group.KIND_GPU for group in config.instance_group)


def stays_on_cpu(config: ModelConfig) -> bool:
    """Return whether all instance groups have KIND_CPU. Without a group, the engine chooses as for KIND_AUTO."""
    return bool(config.instance_group) and all(group.kind == group.KIND_CPU for group in config.instance_group)


def first_gpu(config: ModelConfig) -> int:
    """Return the first GPU that an instance group names in `gpus`; 0 if none does."""
    return next((gpu for group in config.instance_group for gpu in group.gpus), 0)
