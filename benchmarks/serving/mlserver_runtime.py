"""Run a model of the benchmark in MLServer: this file is imported by MLServer, in its own environment."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """Runs model.onnx on one thread, as the bare servers do."""

    async def load(self) -> bool:
        """Open the session."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(self.settings.parameters.uri, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return `probabilities` of one batch."""
        batch = NumpyCodec.decode_input(payload.inputs[0])
        (answers,) = self._session.run(["probabilities"], {self._input: np.ascontiguousarray(batch)})
        output = NumpyCodec.encode_output("probabilities", answers)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
