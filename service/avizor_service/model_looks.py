"""Hold what a catalogue finds of a model when it looks at it: what answers, and what is wrong with what does not."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from avizor_inference.engines.base import ModelSpec
from avizor_inference.errors import AvizorError, ModelNotFound, VersionRefused
from avizor_inference.repository.fingerprint import Fingerprint
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.version_choice import chosen_version
from avizor_service.version_state import VersionState

_log = logging.getLogger(__name__)

# What the system says of itself, not of a file: the same file may be read a moment later.
_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT)


class Problems(dict[int, str]):
    """Holds what is wrong with a model, by version; of 0 what is wrong with all of it.

    may_pass: whether something of it says nothing about the files.
    """

    may_pass = False

    def note(self, version: int, error: AvizorError) -> None:
        """Take in what is wrong with a version."""
        self[version] = str(error)
        self.may_pass |= isinstance(error.__cause__, OSError) and error.__cause__.errno in _SYSTEM


@dataclass(frozen=True)
class Look:
    """Holds what was found of a model when it was looked at.

    mark: of its files. specs: what an engine that loads by itself said. problems: see `Problems`.
    ready: the version that answers; 0 for none.
    """

    mark: Fingerprint = ()
    specs: tuple[ModelSpec, ...] = ()
    problems: Mapping[int, str] = field(default_factory=dict)
    ready: int = 0

    def states(self, name: str) -> dict[int, VersionState]:
        """Return what is to be told of a model's versions, by number."""
        told = {
            number: VersionState(_unicode(name), number, "UNAVAILABLE", _unicode(problem))
            for number, problem in self.problems.items()
        }
        if self.ready:
            told[self.ready] = VersionState(name, self.ready, "READY", self.problems.get(self.ready, ""))
        return told


def quick_look(repository: ModelRepository, name: str) -> Look:
    """Look at the files of a model as they lie there: nothing is opened, and no engine is asked."""
    problems = Problems()
    try:
        for number in repository.candidates(name):
            try:
                _check_files(repository.version(name, number))
                return Look(problems=problems, ready=number)
            except AvizorError as error:
                problems.note(number, error)
    except AvizorError as error:
        problems.note(0, error)
    return Look(problems=problems)


def compare_choice(repository: ModelRepository, name: str, loaded: int, engine_options: str, problems: Problems) -> None:
    """Note if Triton has loaded another version than config.pbtxt chooses: a command was killed between the two steps.

    If the newest one is to be served, its files look as if it had only been published, which is no fault: that is logged.
    """
    with suppress(AvizorError):  # what is wrong with that file is found elsewhere; Triton has its own copy of it
        wanted = chosen_version(repository.root / name)
        if wanted and wanted != loaded:
            why = (
                f"config.pbtxt chooses version {wanted}, and Triton has loaded {loaded}: a command is loading it, or was "
                f"killed; then give `avizor models load {name} --version {wanted} {engine_options}`"
            )
            problems.note(wanted, VersionRefused(why))
        elif not wanted and (newest := repository.candidates(name)[0]) > loaded:
            _log.info(
                "model %r: version %d is published, and Triton has loaded %d; `avizor models load %s %s` serves it, and so "
                "does a restart of Triton",
                name, newest, loaded, name, engine_options,
            )  # fmt: skip


def note_not_found(
    repository: ModelRepository, name: str, error: ModelNotFound, engine_options: str, problems: Problems
) -> None:
    """Note why the engine has nothing of a model: what is wrong with its files, or else that nobody has had Triton load it."""
    look = quick_look(repository, name)
    problems.update(look.problems)
    if look.ready:
        problems[0] = f"{error}; load it with `avizor models load {name} {engine_options}`"


def _check_files(version: ModelVersion) -> None:
    """Raise AvizorError unless the files of a version are there and can be read, as far as a quick look shows."""
    version.verify_size()
    version.calibrations()


def _unicode(text: str) -> str:
    """Return a text that can be sent and written: names of folders may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()
