"""Hold the models a gateway serves: its own copy of their manifests and calibrations, compared with what the engine runs.

Where a caller names no version, the newest one answers that the engine has and that nothing is wrong with. Which one that is
changes in `refresh` only, after the new one has been opened and proven; calls that have begun end on the one they began with.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from avizor_inference.engines.base import Engine, ModelSpec, check_same_digest
from avizor_inference.engines.probe_check import check_probe
from avizor_inference.errors import (
    AvizorError,
    DeadlineExceeded,
    EngineBusy,
    EngineUnavailable,
    ModelNotFound,
    RepositoryError,
    VersionRefused,
)
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.fingerprint import fingerprint
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_service.engine_holds import EngineHolds
from avizor_service.model_looks import Look, Problems, compare_choice, note_not_found, quick_look
from avizor_service.open_version import OpenVersion
from avizor_service.version_state import VersionState

__all__ = ["Catalogue", "OpenVersion", "VersionState"]

_log = logging.getLogger(__name__)

# What passes by itself, and says nothing about a version.
_PASSES = (EngineUnavailable, EngineBusy, DeadlineExceeded)


class Catalogue:
    """Opens versions when they are first asked for, or by `refresh`, and keeps them until there are newer ones.

    engine_options: how the engine is named on a command line (open_engine.engine_options). accept: raises CalibrationError for
    calibrations that are not to be used. Close it before the engine.
    """

    def __init__(
        self,
        repository: ModelRepository,
        engine: Engine,
        engine_options: str = "--engine ort",
        accept: Callable[[Sequence[Calibration]], None] = lambda _calibrations: None,
    ) -> None:
        self._repository, self._engine, self._engine_options, self._accept = repository, engine, engine_options, accept
        self._open: dict[tuple[str, int], OpenVersion] = {}
        self._newest: dict[str, OpenVersion] = {}
        self._looks: dict[str, Look] = {}
        self._wrong: dict[tuple[str, int], str] = {}  # versions that the engine does not compute as export did, and why
        self._holds = EngineHolds(engine)
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._refreshing = threading.Lock()

    def close(self) -> None:
        """End what frees versions that are not used any more."""
        self._holds.close()

    def open(self, name: str, version: int = 0) -> OpenVersion:
        """Return a version that the engine runs and that is proven, for 0 the one that is served.

        Raises ModelNotFound, VersionRefused, EngineUnavailable, and what Engine.infer raises.
        """
        if found := self.opened(name, version):
            return found
        with self._opening:  # many first calls of a version come at once: the others find what the first one has opened
            if found := self.opened(name, version):
                return found
            opened = self._proven_when_asked(name, version) if version else self._first_proven(name)
            with self._lock:  # a look may have found another one meanwhile
                opened = self._open.setdefault((name, opened.version.version), opened)
                return opened if version else self._newest.setdefault(name, opened)

    def opened(self, name: str, version: int = 0) -> OpenVersion | None:
        """Return a version that is open, the newest for 0, or None. Never waits: for the event loop."""
        return self._open.get((name, version)) if version else self._newest.get(name)

    def knows(self, name: str) -> bool:
        """Return whether the repository has a model of that name. Needs no engine."""
        return self._repository.has(name)

    def forget_newest(self) -> None:
        """Ask the engine again which versions are the newest: it may have come back with others."""
        self._newest.clear()

    def find(self, name: str, version: int = 0) -> ModelVersion:
        """Return a version as it answers or, if it is not open, as the repository has it. 0 is the one that answers.

        Needs no engine. Raises ModelNotFound, RepositoryError, VersionRefused if none answers.
        """
        if opened := self.opened(name, version):
            return opened.version
        look = self._looks.get(name)
        number = version or (look.ready if look else 0)
        found = self._repository.version(name, number) if number else self._repository.served(name)
        if look and not number and look.problems:
            raise VersionRefused(look.problems[max(look.problems)])
        return found

    def names(self) -> list[str]:
        """Return the names of the repository's models, sorted: if it cannot be read, of those that answer all the same."""
        try:
            return self._repository.names()
        except RepositoryError:
            if open_models := {name for name, _ in self._open.copy()}:
                return sorted(open_models)
            raise

    def versions(self, name: str) -> list[int]:
        """Return the numbers of a model's versions, ascending; if the repository cannot be read, of those that are open.

        Raises ModelNotFound, RepositoryError.
        """
        try:
            return self._repository.versions(name)
        except ModelNotFound:
            raise
        except RepositoryError:
            if open_versions := [number for model, number in self._open.copy() if model == name]:
                return sorted(open_versions)
            raise

    def states(self) -> list[VersionState]:
        """Return the versions that answer, and whatever on disk does not, as of the last look, by name and version.

        Never waits: for the event loop.
        """
        states: dict[tuple[str, int], VersionState] = {}
        for name, look in self._looks.copy().items():
            states |= {(name, number): state for number, state in look.states(name).items()}
        for name, number in self._open.copy():
            states.setdefault((name, number), VersionState(name, number, "READY"))
        return sorted(states.values())

    def calibrations(self) -> dict[str, tuple[Calibration, ...]]:
        """Return the active calibrations of the version of each model that is served. Needs no engine.

        Models that have none, or that something is wrong with, are left out: `states` names the latter.
        """
        found = {}
        for name in self.names():
            try:
                calibrations = self.active_calibrations(self.find(name))
            except AvizorError:
                continue
            if calibrations:
                found[name] = calibrations
        return found

    def active_calibrations(self, version: ModelVersion) -> tuple[Calibration, ...]:
        """Return a version's active calibrations: if it is open those in use, else those on disk. Raises VersionRefused."""
        opened = self._open.get((version.name, version.version))
        return opened.active_calibrations() if opened else version.calibrations()

    def calibration_in_use(self, version: ModelVersion, active: Sequence[Calibration]) -> Calibration | None:
        """Return the calibration that verdicts on a version come from. Needs no engine. active: the version's active ones.

        Before the first verdict that is the only active one; None if there are several, of which the engine decides.
        """
        opened = self._open.get((version.name, version.version))
        if opened and opened.calibration:
            return opened.calibration
        return active[0] if len(active) == 1 else None

    def survey(self) -> None:
        """Take a quick look at all models, for `states`, before the first `refresh`. It opens nothing and needs no engine.

        Raises RepositoryError if the repository cannot be read.
        """
        for name in self._repository.names():
            self._looks[name] = quick_look(self._repository, name)
        self._note_nameless()

    def _note_nameless(self) -> set[str]:
        """Take note of folders that cannot be models, for `states`. Return their names."""
        found = self._repository.nameless()
        problem = {0: "its name is not UTF-8, so that nobody can ask for it; rename the folder"}
        self._looks |= {name: Look(problems=problem) for name in found}
        return set(found)

    def refresh(self, *, asked: bool = False) -> None:
        """Look at all models, and let newer versions and calibrations answer from now on, each after it was proven.

        What is wrong with a version or a calibration is in `states`, and what answered before it goes on. asked: look at those
        again, too, whose files have not changed. Raises RepositoryError if the repository cannot be read.
        """
        with self._refreshing:
            names = self._repository.names()
            for name in names:
                try:
                    self._refresh(name, asked=asked)
                except _PASSES as error:
                    _log.log(logging.WARNING if asked else logging.DEBUG, "model %r: looked at later: %s", name, error)
                except Exception:  # of a library, for example; the other models are served
                    _log.exception("model %r cannot be looked at", name)
                    chosen = self._newest.get(name)
                    problem = {0: "it cannot be looked at, for a reason that nobody expected; the gateway's log has it"}
                    self._looks[name] = Look(problems=problem, ready=chosen.version.version if chosen else 0)
            for name in self._looks.keys() - set(names) - self._note_nameless():
                del self._looks[name]
                self._let_go(name, None)

    def _refresh(self, name: str, *, asked: bool) -> None:
        mark, before = fingerprint(self._repository.root / name), self._looks.get(name)
        problems = Problems()
        specs: tuple[ModelSpec, ...] = ()
        try:
            loaded = self._engine.loaded(name)
            specs = tuple(self._engine.spec(name, number) for number in loaded or ())
            same = before and (before.mark, before.specs) == (mark, specs)
            if same and not asked and (name in self._newest or not (before and before.ready)):
                return
            for key in [key for key in self._wrong if key[0] == name]:
                self._wrong.pop(key, None)
            candidates = self._repository.candidates(name) if loaded is None else loaded[::-1]
            if loaded:
                compare_choice(self._repository, name, loaded[-1], self._engine_options, problems)
            chosen = self._best(name, candidates, problems) or self._newest.get(name)
        except _PASSES:
            raise
        except ModelNotFound as error:
            note_not_found(self._repository, name, error, self._engine_options, problems)
            chosen = self._newest.get(name)
        except AvizorError as error:
            problems.note(0, error)
            chosen = self._newest.get(name)
        self._let_go(name, chosen)
        mark = () if problems.may_pass else mark  # then the next look is at the same files again
        self._looks[name] = Look(mark, specs, problems, chosen.version.version if chosen else 0)

    def _best(self, name: str, candidates: Sequence[int], problems: Problems) -> OpenVersion | None:
        """Return the first of these versions that may answer, opened and proven, or None. problems: filled by version."""
        for place, number in enumerate(candidates):
            try:
                return self._proven(name, number, candidates[place + 1 :], problems)
            except _PASSES:
                raise
            except AvizorError as error:
                problems.note(number, error)
        return None

    def _proven(self, name: str, number: int, older: Sequence[int], problems: Problems) -> OpenVersion:
        """Return a version that may answer. Raises AvizorError if it may not.

        older: what could answer instead. problems: where is noted what is wrong with a version that may answer all the same.
        """
        current = self._open.get((name, number))
        if current is None or not current.is_proven:
            return self._judged(self._checked(current or self._opened(name, number)), older, problems)
        try:
            return self._renewed(current, problems)
        except _PASSES:
            raise
        except AvizorError as error:  # it goes on, whatever has happened to its files
            problems.note(number, error)
            return current

    def _renewed(self, current: OpenVersion, problems: Problems) -> OpenVersion:
        """Return what is to answer instead of an open version: itself, or one with another calibration. Raises AvizorError."""
        version = self._repository.version(current.version.name, current.version.version)
        if version.manifest != current.manifest:
            raise VersionRefused(
                f"{version.folder} was replaced while it is served; the earlier one goes on. Publish what is new as a version "
                "of its own, or restart the gateway"
            )
        version.verify()
        if self._engine.spec(version.name, version.version) != current.spec:
            return self._judged(self._checked(self._opened(version.name, version.version)), (), problems)
        if current.calibration is None:
            return self._judged(current, (), problems)
        active = version.calibrations()
        if active == current.active_calibrations():
            return current
        renewed = self._opened(version.name, version.version)
        renewed.is_proven = True
        self._accept(active)
        renewed.judging()
        return renewed

    def _checked(self, opened: OpenVersion) -> OpenVersion:
        """Return an open version, after the engine has computed its probe items. Raises AvizorError."""
        key = opened.version.name, opened.version.version
        try:
            if self._engine.loaded(opened.version.name) is not None:  # else the engine has verified the files
                opened.version.verify()
            check_probe(self._engine, opened.version)
        except VersionRefused as error:
            self._wrong[key] = str(error)
            raise
        self._wrong.pop(key, None)
        opened.is_proven = True
        return opened

    def _judged(self, opened: OpenVersion, older: Sequence[int], problems: Problems) -> OpenVersion:
        """Return a version, after its calibration was chosen, if it has some that can be used.

        Without one it has no verdicts. Raises AvizorError if there would be verdicts of an older version instead.
        """
        if opened.manifest.task != "reconstruct" or opened.calibration:
            return opened
        falls_back = any(self._is_calibrated(opened.version.name, number) for number in older)
        try:
            if falls_back or opened.version.calibrations():
                self._accept(opened.version.calibrations())
                opened.judging()
        except _PASSES:
            raise
        except AvizorError as error:
            if falls_back:
                raise
            problems.note(opened.version.version, error)
        return opened

    def _is_calibrated(self, name: str, number: int) -> bool:
        try:
            return bool(self._repository.version(name, number).calibrations())
        except AvizorError:
            return False

    def _let_go(self, name: str, chosen: OpenVersion | None) -> None:
        """Let a version answer from now on, and forget all others of the model; calls that use them keep them to their end."""
        with self._lock:
            before = self._newest.get(name)
            if chosen:
                self._newest[name] = self._open[name, chosen.version.version] = chosen
            else:
                self._newest.pop(name, None)
            if before is not chosen:
                for key in [key for key, opened in self._open.items() if key[0] == name and opened is not chosen]:
                    del self._open[key]

    def _first_proven(self, name: str) -> OpenVersion:
        """Return what a look would let answer. Raises what is wrong with the best version if none may."""
        loaded, look = self._engine.loaded(name), self._looks.get(name)
        if loaded is None and look and (ready := self._open.get((name, look.ready))):
            return ready
        candidates = self._repository.candidates(name) if loaded is None else loaded[::-1]
        first: AvizorError | None = None
        for place, number in enumerate(candidates):
            try:
                return self._judged(self._proven_when_asked(name, number), candidates[place + 1 :], Problems())
            except _PASSES:
                raise
            except AvizorError as error:
                first = first or error
        assert first, "a model has candidates, or candidates() raises"
        raise first

    def _proven_when_asked(self, name: str, number: int) -> OpenVersion:
        if opened := self._open.get((name, number)):
            return opened
        if problem := self._wrong.get((name, number)):  # found by a look, or by a call since
            raise VersionRefused(problem)
        return self._checked(self._opened(name, number))

    def _opened(self, name: str, number: int) -> OpenVersion:
        version, hold = self._repository.version(name, number), self._holds.of(name, number)
        opened = OpenVersion(version, self._engine, self._engine_options, self.forget_newest, hold)
        check_same_digest(opened.spec, version)
        return opened
