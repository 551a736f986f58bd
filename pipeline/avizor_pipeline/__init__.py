"""Run models over whole datasets, in bounded memory, into Parquet tables. It needs neither torch nor a server.

The names in `__init__.pyi` are what users import. Each loads when it is used:

    settings = JobRequest(datasets=("sounds",), models=("machine-sound",)).to_settings()
    out, outcome = Path("results"), Outcome()
    for commit in run_job(settings, out, plan_job(settings, out), LocalRunner(workers=2)):
        outcome.add(commit)
"""

from __future__ import annotations

import lazy_loader

import avizor_inference  # noqa: F401 - it keeps ONNX Runtime from reporting, and so comes first

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
