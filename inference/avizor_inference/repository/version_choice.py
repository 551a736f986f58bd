"""Choose which version of a model is served, in config.pbtxt: every engine reads it there, now and after a restart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from avizor_inference.durable_files import write_text
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import RepositoryError
from avizor_inference.regular_files import read_regular
from avizor_inference.repository.config_text import appended
from avizor_inference.repository.triton_config import CONFIG_FILE, OVERRIDES_FILE, parse_config, read_config
from avizor_inference.waiting_lock import waiting_lock

# A choice that is taken back leaves the policy that is in the overrides.
_POLICY = "version_policy"


@contextmanager
def choosing(folder: Path) -> Iterator[None]:
    """Hold the right to write config.pbtxt of a model during the block: two commands at once follow one another.

    folder: of the model. Not to be nested. Raises RepositoryError if nothing can be written beside the folder.
    """
    path = folder.parent / f".avizor-choice-lock-{folder.name}"
    with ExitStack() as stack:
        try:
            stack.enter_context(waiting_lock(path))
        except OSError as error:
            what_to_do = remedy(error, "let this user write there, or move away what is no file")
            raise RepositoryError(f"{path} cannot be written ({reason(error)}); {what_to_do}") from error
        yield


def chosen_version(folder: Path) -> int | None:
    """Return the version that `avizor models load` or `rollback` has chosen; None if the newest one is served.

    folder: of the model. A policy in the overrides is no choice. Raises RepositoryError.
    """
    config = read_config(folder / CONFIG_FILE)
    specific = list(config.version_policy.specific.versions)
    own = parse_config(_own_policy(folder), OVERRIDES_FILE)
    return specific[0] if len(specific) == 1 and config.version_policy != own.version_policy else None


def choose_version(folder: Path, version: int | None) -> str:
    """Let a model be served in one version; None: in the newest, or as its overrides say. Return the earlier text of the file.

    folder: of the model. Call it while `choosing`. Raises RepositoryError, also for a file that cannot be written.
    """
    path = folder / CONFIG_FILE
    before = read_text(path)
    wanted = f"{_POLICY} {{ specific {{ versions: [ {version} ] }} }}" if version else _own_policy(folder)
    _write(path, _with_policy(before, wanted, str(path)))
    return before


@contextmanager
def trying(folder: Path, version: int | None) -> Iterator[None]:
    """Choose a version as `choose_version` does, during the block and after it; if it raises, config.pbtxt is put back.

    So it is, too, if a signal stops the command while the file is written. Raises RepositoryError.
    """
    before = read_text(folder / CONFIG_FILE)
    try:
        choose_version(folder, version)
        yield
    except BaseException:
        restore(folder, before)
        raise


def with_choice(text: str, version: int) -> str:
    """Return the text of a config.pbtxt in which one version is chosen. Raises RepositoryError."""
    return _with_policy(text, f"{_POLICY} {{ specific {{ versions: [ {version} ] }} }}", CONFIG_FILE)


def without_choice(text: str, overrides: str, where: str) -> str:
    """Return the text of a config.pbtxt that serves the newest version, or what the text of its overrides says.

    where: names the file in errors. Raises RepositoryError.
    """
    return _with_policy(text, _policy_of(overrides, where), where)


def restore(folder: Path, text: str) -> None:
    """Put back what `choose_version` returned, if it is not there. Raises RepositoryError."""
    if read_text(folder / CONFIG_FILE) != text:
        _write(folder / CONFIG_FILE, text)


def read_text(path: Path) -> str:
    """Return the text of a config.pbtxt, or of its overrides. Raises RepositoryError."""
    try:
        return read_regular(path).decode()
    except OSError as error:
        raise RepositoryError(f"{path}: cannot be read ({reason(error)}); {remedy(error, 'export the model again')}") from error
    except UnicodeDecodeError as error:
        raise RepositoryError(f"{path}: is not UTF-8; export the model again") from error


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise RepositoryError(f"{path}: cannot be written ({reason(error)}); it is as it was") from error


def _with_policy(before: str, wanted: str, where: str) -> str:
    return appended(before, _without_policy(before, where), wanted, where)


def _own_policy(folder: Path) -> str:
    path = folder / OVERRIDES_FILE
    return _policy_of(read_text(path), str(path)) if path.is_file() else ""


def _policy_of(overrides: str, where: str) -> str:
    policy = parse_config(overrides, where).version_policy
    inside = " ".join(str(policy).split())
    return f"{_POLICY} {{ {inside} }}" if inside else ""


def _without_policy(text: str, where: str) -> str:
    """Return a configuration without version_policy, all else as it is."""
    config = parse_config(text, where)
    if not config.HasField(_POLICY):
        return text
    start = re.search(rf"^{_POLICY}\b", text, re.MULTILINE)
    end = _end_of_block(text, start.start()) if start else 0
    rest = text[: start.start()] + text[end:] if start else text
    config.ClearField(_POLICY)
    if not end or parse_config(rest, where) != config:
        raise RepositoryError(f"{where}: its {_POLICY} cannot be replaced; write it on lines of its own, in {OVERRIDES_FILE}")
    return rest


def _end_of_block(text: str, start: int) -> int:
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if text[place] == "}" and not depth:
            return place + 1
    return 0
