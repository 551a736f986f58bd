"""Hide from the user what libraries write for their own developers."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr


@contextmanager
def quiet(logger: str = "") -> Iterator[None]:
    """Hide Python's warnings, what Python code writes to stderr, and log lines of `logger` below ERROR.

    logger: name of a library's logger; "" is the root logger, for libraries that log there. Use it in one thread at a time.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(redirect_stderr(io.StringIO()))
        library = logging.getLogger(logger)
        stack.callback(library.setLevel, library.level)
        library.setLevel(logging.ERROR)
        yield
