"""Watch whether the engine is up, so that calls fail at once while it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from avizor_inference.engines.base import Engine
from avizor_inference.errors import EngineUnavailable

_log = logging.getLogger(__name__)

# Seconds between two looks while the engine is up, and while it is away.
_LOOK_S, _LOOK_AWAY_S = 0.5, 0.25

# An engine that is silent for so many seconds is away. One that has too much to do answers late, so it is not less.
_SILENT_S = 3.0


class EngineWatch:
    """Knows whether an engine is up. Before the first look it counts as up.

    name: as on the command line.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name
        self._up: bool | None = None

    def require_up(self) -> None:
        """Raise EngineUnavailable while the engine is away. Does not ask the engine."""
        if self._up is False:
            raise EngineUnavailable(f"the engine {self._name} is away; try again, the gateway looks for it")

    def _looks_up(self) -> bool:
        try:
            return self._engine.ready(_SILENT_S)
        except Exception:  # or the watch would end unseen
            _log.exception("engine %s cannot be asked whether it is up", self._name)
            return False

    async def watch(self, changed: Callable[[bool], None]) -> None:
        """Look again and again. changed(up) is called after the first look and at each change. Returns when cancelled."""
        while True:
            up = await asyncio.to_thread(self._looks_up)
            if up != self._up:
                self._up = up
                _log.log(logging.INFO if up else logging.WARNING, "engine %s is %s", self._name, "up" if up else "away")
                changed(up)
            await asyncio.sleep(_LOOK_S if up else _LOOK_AWAY_S)
