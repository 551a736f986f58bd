"""Keep pandas out of a process: pyarrow imports it, where it is installed, to make its first array of anything.

That takes each process 0.3 s of CPU and some 40 MiB of memory, and nothing of Avizor uses pandas.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn


class _NoPandas(MetaPathFinder, Loader):
    """Finds pandas, but does not load it. Those who only ask whether it is there, as torch does, get their answer."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == "pandas" else None

    def exec_module(self, module: ModuleType) -> NoReturn:
        raise ModuleNotFoundError("pandas is left out of this process; see avizor_inference/no_pandas.py", name="pandas")


def leave_out_pandas() -> None:
    """Let no import of pandas load it from now on. Call it only in a process in which no code of users runs."""
    sys.meta_path.insert(0, _NoPandas())
