"""Look at what a batch job found: a report in one file. It needs neither torch nor a server.

The names in `__init__.pyi` are what users import. Each loads when it is used:

    with Results.open(Path("results")) as results:
        for item in results.items(ItemQuery(flagged=True), limit=20):
            print(item.uri, item.p_value)
"""

from __future__ import annotations

import lazy_loader

import avizor_inference  # noqa: F401 - it keeps ONNX Runtime from reporting, and so comes first

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
