"""List the objects below a URL, and ask for the states of many objects at once."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from avizor_inference.daemon_threads import interruptible
from avizor_inference.errors import DatasetError, MediaError, StoreUnavailable
from avizor_inference.items.object_files import AT_ONCE, asked, is_http, object_state, store_answers, store_threads
from avizor_inference.items.odd_names import all_keys, is_odd, odd_name, refused
from avizor_inference.object_store import (
    StoreState,
    in_words,
    is_url,
    place_of_url,
    rests_to_retry,
    state_of_object,
    url_of,
    was_cut_off,
)

T = TypeVar("T")

# Objects in one page of a listing: what S3 sends at most.
_PAGE = 1000


def is_prefix(path: Path) -> bool:
    """Return whether there are objects below this URL. A store that is away is told of soon.

    Raises StoreUnavailable, and DatasetError for http, which has no listing.
    """
    _check_listing(path)
    try:
        first: list[Any] = asked(path, lambda store, key: next(iter(store.list(key or None, chunk_size=1)), []), patient=False)
    except MediaError as error:
        if odd_name(error) is not None:
            return True
        raise _not_listed(path, error) from error
    return bool(first)


def objects_below(path: Path, on_odd: Callable[[str], None] = lambda _: None) -> Iterator[tuple[Path, StoreState | None]]:
    """Yield the objects below a URL with their states, page by page, in the order of the store: that of the keys' bytes.

    None: a marker, which is what consoles make for an empty folder. on_odd: called with each key that is no path and is left
    out. Raises DatasetError, StoreUnavailable.
    """
    _check_listing(path)
    root = Path(*path.parts[:2])
    try:
        for page in _pages(path, on_odd):
            found = [(root / meta["path"], state_of_object(meta)) for meta in page]
            # The key of a marker ends with a slash, which obstore leaves out: there is no object of the name that is left.
            empty = [below for below, state in found if not state.size and below != path]
            markers = {below for below, is_gone in zip(empty, gone_objects(empty), strict=True) if is_gone} | {path}
            yield from ((below, None if below in markers else state) for below, state in found)
    except MediaError as error:
        raise _not_listed(path, error) from error


def names_below(path: Path) -> tuple[list[Path], list[Path]]:
    """Return what is directly below a URL: the names that have objects below them, and the objects.

    Raises DatasetError if it cannot be listed, StoreUnavailable.
    """
    _check_listing(path)
    root = Path(*path.parts[:2])
    try:
        found: Any = asked(path, lambda store, key: store.list_with_delimiter(key or None))
    except MediaError as error:
        raise _not_listed(path, error) from error
    objects = [root / meta["path"] for meta in found["objects"]]
    return [root / name for name in found["common_prefixes"]], [each for each in objects if each != path]


def _pages(path: Path, on_odd: Callable[[str], None]) -> Iterator[Sequence[Any]]:
    """Yield what a store lists. After an answer that was cut off, the store is asked for what comes after the last object.

    So it is after a page that is refused for a name in it. The names of that page come from another client, and each of its
    objects is asked for.
    """
    store, key = place_of_url(path)
    last, rests = None, rests_to_retry()
    names: list[str] = []
    pages = iter(store.list(key or None, chunk_size=_PAGE))
    while True:
        try:
            with in_words(path):
                page = interruptible(partial(next, pages, None))
        except StoreUnavailable as error:
            if not (was_cut_off(error) and next(rests, False)):
                raise
            pages = iter(store.list(key or None, offset=last, chunk_size=_PAGE))
            continue
        except MediaError as error:
            if (odd := odd_name(error)) is None:
                raise
            names = names or all_keys(path, odd)
            if not (some := _past_the_odd(names, last)):
                return
            yield _looked_at(path, some, on_odd)
            if some[-1] == names[-1]:
                return
            last = some[-1]
            pages = iter(store.list(key or None, offset=last, chunk_size=_PAGE))
            continue
        if page is None:
            return
        yield [meta for meta in page if meta["path"] != last]  # the marker of a folder comes again
        last, rests = page[-1]["path"] if page else last, rests_to_retry()


def _past_the_odd(names: Sequence[str], last: str | None) -> Sequence[str]:
    """Return the names after `last`, up to one that a listing can go on after: the first good one after an odd one, or all."""
    first = bisect_right(names, last.encode(), key=str.encode) if last else 0
    after = False
    for place in range(first, len(names)):
        odd = is_odd(names[place])
        if after and not odd:
            return names[first : place + 1]
        after = after or odd
    return names[first:]


def _looked_at(path: Path, names: Sequence[str], on_odd: Callable[[str], None]) -> list[Any]:
    """Return what a store tells of the objects of these names. Raises MediaError, StoreUnavailable."""
    root = Path(*path.parts[:2])
    good = []
    for name in names:
        if is_odd(name):
            on_odd(name)
        else:
            good.append(store_threads().submit(partial(_head_or_none, root / name)))
    return [meta for answer in good if (meta := answer.result()) is not None]


def _head_or_none(path: Path) -> Any:
    """Return what a store tells of an object; None if it is not there, as for the marker of a folder."""
    try:
        return asked(path, lambda store, key: store.head(key))
    except MediaError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _not_listed(path: Path, error: MediaError) -> DatasetError:
    if (odd := odd_name(error)) is not None:
        return refused(path, odd)
    return DatasetError(f"{url_of(path)} cannot be listed: {error}")


def _check_listing(path: Path) -> None:
    if is_http(path):
        raise DatasetError(
            f"{url_of(path)}: there is no such file, and http has no listing of folders; give the URL of one file, or a list "
            "of files, with a URL a line"
        )


def with_states(files: Iterable[tuple[Path, T]]) -> Iterator[tuple[Path, T, StoreState | None]]:
    """Yield what is given with the state of each object, in order; some are asked for ahead. None: a file on the disk.

    An object that cannot be looked at has the state 0, 0. Raises StoreUnavailable, soon if a store does not answer at first.
    """
    begun: deque[tuple[Path, T, Future[StoreState] | StoreState | None]] = deque()
    answering = set[tuple[str, ...]]()
    try:
        for path, more in files:
            answer: Future[StoreState] | StoreState | None = None
            if is_url(path):
                is_known = path.parts[:2] in answering
                ask = partial(_state_or_none, path, patient=is_known)
                answer = store_threads().submit(ask) if is_known else interruptible(ask)
                answering.add(path.parts[:2])
            begun.append((path, more, answer))
            if len(begun) > 2 * AT_ONCE:
                yield _with_state(*begun.popleft())
        while begun:
            yield _with_state(*begun.popleft())
    finally:
        _cancel(answer for _, _, answer in begun if isinstance(answer, Future))


def _with_state(path: Path, more: T, answer: Future[StoreState] | StoreState | None) -> tuple[Path, T, StoreState | None]:
    return path, more, answer.result() if isinstance(answer, Future) else answer


def _state_or_none(path: Path, *, patient: bool = True) -> StoreState:
    try:
        return object_state(path, patient=patient)
    except StoreUnavailable:
        if patient or not store_answers(path):  # a patient request has asked that
            raise
    except MediaError:
        pass
    return StoreState(0, 0)


def gone_objects(paths: Sequence[Path]) -> Iterator[bool]:
    """Yield for each object whether its store says that it is not there. A store that is away, or refuses it, does not."""
    answers = [store_threads().submit(partial(_is_gone, path)) for path in paths]
    is_away = False
    try:
        for answer in answers:
            try:
                yield not is_away and answer.result()
            except StoreUnavailable:
                is_away = True
                _cancel(answers)  # it is not asked again and again
                yield False
    finally:
        _cancel(answers)


def _is_gone(path: Path) -> bool:
    try:
        object_state(path, patient=False)
    except MediaError as error:
        return isinstance(error.__cause__, FileNotFoundError)
    return False


def _cancel(answers: Iterable[Future[Any]]) -> None:
    for answer in answers:
        answer.cancel()
