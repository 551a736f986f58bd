"""Run the tensors of a request through a model. It knows no transport: gRPC and HTTP bring requests here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avizor_inference.arrays import Array
from avizor_inference.errors import InvalidInput, ModelNotFound, UnknownOutput
from avizor_inference.repository.triton_config import DATATYPES
from avizor_service.calls import Call
from avizor_service.catalogue import OpenVersion
from avizor_service.gateway import Gateway
from avizor_service.newest import by_newest
from avizor_service.open_inference.classification import classified
from avizor_service.open_inference.tensors import InputTensor, OutputTensor, read_inputs

# A version is a number of at most so many digits: every engine's integers can hold it.
_VERSION = re.compile(r"[0-9]{1,18}")


class WantedOutput(NamedTuple):
    """Names an output that a request asks for. class_count: if it is not 0, its highest values as texts, so many of them."""

    name: str
    class_count: int = 0


class TensorRequest(NamedTuple):
    """Holds what a request asks for. version: as it came; empty is the newest. outputs: none means all of the model's."""

    model: str
    version: str
    inputs: Sequence[InputTensor]
    outputs: Sequence[WantedOutput] = ()


class TensorAnswer(NamedTuple):
    """Holds the outputs of one request in the order in which it names them, each once; if it names none, in the model's."""

    model: str
    version: int
    outputs: Sequence[OutputTensor]

    @property
    def size(self) -> int:
        """Return the bytes of all outputs that are numbers."""
        return sum(each.values.nbytes for each in self.outputs if isinstance(each.values, np.ndarray))


@by_newest
async def infer(gateway: Gateway, request: TensorRequest, call: Call) -> TensorAnswer:
    """Return the outputs of a model for the tensors of a request, and count the call under the model.

    Raises InvalidInput, UnknownOutput, BatchTooLarge, ModelNotFound for a request that is wrong, and what opening a model,
    admission and the engine raise.
    """
    model = await opened(gateway, call, request.model, request.version)
    name, spec = model.version.name, model.spec
    # A server may have loaded it for smaller batches than config.pbtxt and GetModel say: then it runs in several.
    arrays = read_inputs(name, spec.inputs, model.version.config.max_batch_size, request.inputs)
    named = _named(model, request.outputs)
    gateway.inference.loads.admit(name, call.time_remaining_s())
    (rows,) = arrays.values()  # the manifest of a version has one input
    call.record.items = len(rows)
    results = await gateway.inference.run_tensor(model, rows, list(named), call.time_remaining_s)
    outputs = [_output(model, output, results[output], count) for output, count in named.items()]
    return TensorAnswer(name, model.version.version, outputs)


async def opened(gateway: Gateway, call: Call, name: str, version: str) -> OpenVersion:
    """Return the version of a model that a request names, open. Raises InvalidInput, and what Gateway.opened raises."""
    return await gateway.opened(call, name, version_number(name, version), "model_version")


def version_number(name: str, version: str) -> int:
    """Return a version as a number, 0 for the newest. Raises InvalidInput for what is none, ModelNotFound for number 0."""
    if not version:
        return 0
    if not _VERSION.fullmatch(version):
        raise InvalidInput(
            f"version {version[:20]!r} of model {name!r} is not a number over 0; leave it empty for the newest",
            field="model_version",
        )
    if not (number := int(version)):
        raise ModelNotFound(f"model {name!r} has no version 0; leave the version empty for the newest")
    return number


def _named(model: OpenVersion, outputs: Sequence[WantedOutput]) -> Mapping[str, int]:
    """Return the class count of each output that is wanted, by name."""
    specs = model.spec.outputs
    if not outputs:
        return dict.fromkeys(specs, 0)
    for output in outputs:
        if output.name not in specs:
            has = ", ".join(specs)
            raise UnknownOutput(
                f"model {model.version.name!r} has no output {output.name!r}; it has {has}", field=f"outputs.{output.name}"
            )
    return {output.name: output.class_count for output in outputs}


def _output(model: OpenVersion, name: str, values: Array, class_count: int) -> OutputTensor:
    if class_count:
        return classified(name, values, class_count, model.labels_of(name))
    return OutputTensor(name, DATATYPES[model.spec.outputs[name].dtype], values.shape, values)
