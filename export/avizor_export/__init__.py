"""Export trained torch networks to a Triton model repository. Only this package imports torch.

The names in `__init__.pyi` are what users import. Each loads when it is used: `import avizor_export` alone imports no torch.
"""

from __future__ import annotations

import lazy_loader

import avizor_inference  # noqa: F401 - it keeps ONNX Runtime from reporting, and so comes first

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
