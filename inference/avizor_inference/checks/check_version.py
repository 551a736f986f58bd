"""Check, for `avizor models check`, that the files of a version agree with each other, so that any engine can load them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from avizor_inference.checks.report_rules import report_problems
from avizor_inference.checks.tensorrt_rules import precision_problems, quantisation_problems
from avizor_inference.checks.triton_rules import load_problems
from avizor_inference.errors import AvizorError
from avizor_inference.items.tensor_spec import TensorSpec
from avizor_inference.repository.calibration_store import read_active
from avizor_inference.repository.manifest import Manifest
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.onnx_graph import (
    MAX_IR_VERSION,
    MAX_ML_OPSET,
    ML_DOMAIN,
    OPSET,
    Graph,
    GraphTensor,
    read_graph,
)
from avizor_inference.repository.triton_config import (
    CONFIG_FILE,
    LABELS_FILE,
    TRITON_TYPES,
    digest_of_version,
    digest_parameter,
    not_served,
    serves_newest,
)
from avizor_inference.repository.version_choice import chosen_version


def check_model(repository: ModelRepository, name: str) -> list[str]:
    """Return all problems of a model and its versions, one line each: the file, what is wrong, what to do."""
    try:
        repository.version(name)
        versions = repository.versions(name)
    except AvizorError as error:
        return [str(error)]
    return [problem for number in versions for problem in check_version(repository.version(name, number))]


def check_version(version: ModelVersion) -> list[str]:
    """Return all problems of one version, one line each."""
    try:
        version.verify()
        manifest, config, graph = version.manifest, version.config, read_graph(version.model_path)
        version.probe()
        version.calibrations()
        activated = read_active(version.folder).histories.values()
        for identifier in sorted({*version.calibration_ids(), *chain.from_iterable(activated)}):
            version.calibration(identifier)  # any of them may be activated, or gone back to
    except AvizorError as error:
        return [str(error)]
    where = f"{version.name}/{version.version}"
    problems = [*_check_graph(graph), *_check_manifest(manifest, graph), *_check_config(version, config, graph)]
    return [f"{where}: {problem}" for problem in problems]


def model_notes(repository: ModelRepository, name: str) -> list[str]:
    """Return notes on what is valid but may be a mistake. Raises RepositoryError, VersionRefused if the model is unusable."""
    newest = repository.version(name)
    if serves_newest(newest.config, newest.version):
        return []
    if (chosen := chosen_version(newest.folder.parent)) in repository.versions(name):
        return [f"{name}: version {chosen} is chosen (`avizor models rollback`, `load`); `avizor models load {name}` ends that"]
    return [f"{name}: {CONFIG_FILE}: {not_served(newest.version)}"]


def _check_graph(graph: Graph) -> Iterator[str]:
    if graph.opset != OPSET:
        yield f"model.onnx: opset {graph.opset}; the contract is {OPSET}"
    if graph.ir_version > MAX_IR_VERSION:
        yield f"model.onnx: IR version {graph.ir_version} is over {MAX_IR_VERSION}, which older runtimes cannot read"
    if graph.custom_domains:
        yield f"model.onnx: needs operators of {', '.join(graph.custom_domains)}, which not every runtime has"
    if graph.opsets.get(ML_DOMAIN, 0) > MAX_ML_OPSET:
        yield f"model.onnx: version {graph.opsets[ML_DOMAIN]} of {ML_DOMAIN} is over {MAX_ML_OPSET}, which runtimes cannot read"
    for domain in graph.repeated_domains:
        yield f"model.onnx: names the operator set of {domain} twice, which tools refuse; export again"
    if graph.external_data:
        yield "model.onnx: the weights are in separate files; they belong inside"
    for tensor in (*graph.inputs, *graph.outputs):
        if not tensor.dims or tensor.dims[0] is not None:
            yield f"model.onnx: dimension 0 of {tensor.name} is {tensor.dims[:1]}; it is the batch and has to be free"
        if None in tensor.dims[1:]:
            yield f"model.onnx: {tensor.name} has a free dimension besides the batch: {tensor.dims}"


def _check_manifest(manifest: Manifest, graph: Graph) -> Iterator[str]:
    yield from _compare("manifest.json", "input", [manifest.input.tensor()], graph.inputs)
    yield from _compare("manifest.json", "output", manifest.outputs, graph.outputs)
    if (manifest.opset, manifest.ir_version) != (graph.opset, graph.ir_version):
        written = f"{manifest.opset}, {manifest.ir_version}"
        yield f"manifest.json: opset and IR version {written}; model.onnx has {graph.opset}, {graph.ir_version}"
    yield from (f"manifest.json: {problem}" for problem in report_problems(manifest))


def _compare(where: str, kind: str, declared: Sequence[TensorSpec], actual: Iterable[GraphTensor]) -> Iterator[str]:
    graph = {tensor.name: tensor for tensor in actual}
    for spec in declared:
        tensor = graph.pop(spec.name, None)
        if tensor is None:
            yield f"{where}: {kind} {spec.name} is not in model.onnx"
        elif (spec.dtype, spec.item_shape) != (tensor.dtype, tensor.dims[1:]):
            yield (
                f"{where}: {kind} {spec.name} is {spec.dtype}{list(spec.item_shape)}, in model.onnx "
                f"{tensor.dtype}{list(tensor.dims[1:])} after the batch"
            )
    for name in graph:
        yield f"{where}: {kind} {name} of model.onnx is not declared"


def _check_config(version: ModelVersion, config: ModelConfig, graph: Graph) -> Iterator[str]:
    if config.name not in ("", version.name):
        yield f"config.pbtxt: name is {config.name!r}; it has to be the folder's, {version.name!r}"
    if config.backend != "onnxruntime":
        yield f"config.pbtxt: backend is {config.backend!r}; it has to be 'onnxruntime'"
    if config.max_batch_size < 1:
        yield f"config.pbtxt: max_batch_size is {config.max_batch_size}; at least 1, since dimension 0 is the batch"
    if digest_of_version(config, version.version) != version.manifest.model_sha256:
        parameter = digest_parameter(version.version)
        yield f"config.pbtxt: parameter {parameter} is not the digest of version {version.version}; export again"
    yield from _compare_config("input", config.input, graph.inputs)
    yield from _compare_config("output", config.output, graph.outputs)
    yield from _check_labels(version, config)
    yield from (f"config.pbtxt: {problem}" for problem in load_problems(config, graph))
    if _is_served(
        version, config
    ):  # versions share one config, which may have been for another target when this version was exported
        yield from (f"config.pbtxt: {problem}" for problem in precision_problems(config, version.manifest.precision))
        yield from quantisation_problems(config, graph)


def _is_served(version: ModelVersion, config: ModelConfig) -> bool:
    """Return whether the version policy serves this version: by default it serves the newest."""
    policy = config.version_policy
    if policy.HasField("specific"):
        return version.version in set(policy.specific.versions)
    newer = [path for path in version.folder.parent.iterdir() if path.name.isdecimal() and int(path.name) > version.version]
    return bool(policy.HasField("all")) or len(newer) < max(1, policy.latest.num_versions)


def _compare_config(kind: str, declared: Iterable[object], actual: Iterable[GraphTensor]) -> Iterator[str]:
    names = {triton: dtype for dtype, triton in TRITON_TYPES.items()}
    specs = []
    for tensor in declared:
        dtype = names.get(DataType.Name(tensor.data_type))  # type: ignore[attr-defined]
        dims = tuple(tensor.dims)  # type: ignore[attr-defined]
        if dtype is None or any(dim < 1 for dim in dims):
            yield f"config.pbtxt: {kind} {tensor.name} has a type or dimensions that are not supported"  # type: ignore[attr-defined]
            continue
        specs.append(TensorSpec(name=tensor.name, dtype=dtype, item_shape=dims))  # type: ignore[attr-defined]
    yield from _compare("config.pbtxt", kind, specs, actual)


def _check_labels(version: ModelVersion, config: ModelConfig) -> Iterator[str]:
    labels = version.manifest.labels
    path = version.folder.parent / LABELS_FILE
    if labels is None:
        return
    if _lines(path) != list(labels):
        yield f"{LABELS_FILE}: is not the manifest's {len(labels)} labels"
    if not any(output.label_filename == LABELS_FILE for output in config.output):
        yield f"config.pbtxt: no output names {LABELS_FILE} as its label_filename"
    classes = {output.name: output.item_shape for output in version.manifest.outputs}.get("probabilities")
    if classes != (len(labels),):
        yield f"manifest.json: {len(labels)} labels for probabilities of shape {classes}"


def _lines(path: Path) -> list[str] | None:
    """Read lines like Triton: only a line feed ends a line, so a label may contain any other character."""
    try:
        return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError):
        return None
