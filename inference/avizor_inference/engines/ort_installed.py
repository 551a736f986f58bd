"""Say what to install where ONNX Runtime is missing: a gateway for a Triton, and pages over a job's results, do without it."""

from __future__ import annotations

from importlib.util import find_spec

from avizor_inference.errors import SettingsError


def require_onnxruntime(what: str, where: str = "here") -> None:
    """Raise SettingsError if ONNX Runtime is not installed. It is not loaded here.

    what: needs it, as in `the engine ort`. where: it is missing, as whoever reads the message would say.
    """
    if find_spec("onnxruntime") is None:
        raise SettingsError(
            f"{what} needs onnxruntime, which is not installed {where}; pip install 'avizor[inference-cpu]', or "
            "'avizor[inference]' on a machine with a GPU"
        )
