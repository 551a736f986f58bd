"""Say in a sentence what is wrong with the items, before a model is fitted to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from avizor_export.fitting.folder import NormalItems
from avizor_export.fitting.unreadable import Unreadable
from avizor_inference.error_text import named
from avizor_inference.errors import DatasetError
from avizor_inference.items.data.item_files import evenly_spaced
from avizor_inference.items.input_spec import InputSpec
from avizor_inference.items.source_rule import DEFAULT_SOURCE

FEWEST = 30
_COMPARED = 60  # items, whether they are equal
_GOOD_WORDS = "good|ok|okay|normal|healthy|benign|negative|pass|passed|io|correct|intact"
_BAD_WORDS = (
    r"bad|not?_?ok|nok|nio|ng|abnormal|anomal(y|ies|ous)|anomalie|defect(s|ive)?|fault(s|y)?|broken|damaged?|fail(ed|ure)?"
    r"|scratch(es)?|crack(s|ed)?|malignant|positive|fraud|outliers?|wrong|error"
)
_GOOD, _BAD = (re.compile(f"(?i)({words})") for words in (_GOOD_WORDS, _BAD_WORDS))
# A word in the name of a file, by itself: with numbers or underscores around it.
_GOOD_IN_NAME, _BAD_IN_NAME = (re.compile(f"(?i)(?<![a-z])({words})(?![a-z])") for words in (_GOOD_WORDS, _BAD_WORDS))


def check_count(items: NormalItems, plural: str) -> None:
    """Raise DatasetError for fewer than FEWEST items."""
    if items.listed < FEWEST:
        where = items.where.name
        is_single = items.listed == 1 and items.where.path.is_file() and plural != "rows"
        single = "is one file, which is one item" if is_single else ""
        have = f"has {items.listed} {plural if items.listed != 1 else plural.removesuffix('s')}"
        left_out = f" (left out: {items.left_out})" if items.left_out.counts else ""
        raise DatasetError(
            f"{where} {single or have}{left_out}; at least {FEWEST} normal {plural} are needed, and 100 or more are better"
        )


def check_sources(items: NormalItems) -> None:
    """Raise DatasetError if the sources are named like classes, of which some are abnormal."""
    if items.where.rule.pattern:
        return
    bad = [source for source in items.by_source if _BAD.fullmatch(source)]
    good = [source for source in items.by_source if _GOOD.fullmatch(source)]
    if bad and (column := items.where.columns.source):
        raise DatasetError(
            f"{items.where.name} has the sources {', '.join(sorted(items.by_source))} in its column {column}, and {bad[0]!r} "
            f"sounds abnormal: normal items alone are learnt from. Either take the rows of {bad[0]!r} out; or, for a "
            "classifier of these, give --labels; or, if they are machines of these names, rename them in the table"
        )
    if bad:
        advice = f"give the folder of the normal ones, {items.where.path / good[0]}" if good else "take these out of the folder"
        raise DatasetError(
            f"{items.where.name} has the sub-folders {', '.join(sorted(items.by_source))}, and {bad[0]!r} sounds abnormal: "
            f"normal items alone are learnt from. Either {advice}; or, for a classifier of these, give --labels; or, if "
            "they are machines or microphones of these names, give --source-pattern '([^/]+)/'"
        )


def check_names(items: NormalItems, modality: str) -> Iterator[str]:
    """Yield a warning if files are named like abnormal ones. Raises DatasetError if others are named like normal ones."""
    if items.where.rule.pattern or modality == "table":
        return
    bad, good = list[str](), list[str]()
    for number in range(len(items)):
        name = PurePosixPath(items.name(number)).name
        words = re.sub(r"[-. ]", "_", name)
        if _BAD_IN_NAME.search(words):
            bad.append(name)
        elif _GOOD_IN_NAME.search(words):
            good.append(name)
    if bad and good:
        first = _GOOD_IN_NAME.match(good[0])
        alone = f"as in {str(items.where.path / first[0]) + '*'!r}" if first else "in a folder of their own"
        raise DatasetError(
            f"{items.where.name} has {len(good)} files named like {good[0]!r}, and {len(bad)} like {bad[0]!r}, which sounds "
            f"abnormal: normal items alone are learnt from. Either give the normal ones alone, {alone}; or, for a classifier "
            "of these, give --labels with --source-pattern '([^/]*?)_?[0-9]+[^/]*$', whose group is the class; or, if the "
            "words mean something else, give --source-pattern '([^/]+)/'"
        )
    if bad:
        yield (
            f"{len(bad)} of {len(items)} files have names that sound abnormal, such as {bad[0]!r}, and count as normal here: "
            "take abnormal ones out"
        )


def source_notes(items: NormalItems) -> Iterator[str]:
    """Yield what the sources mean for the promise."""
    sources = items.by_source
    if len(sources) == 1 and DEFAULT_SOURCE not in sources:
        (source,) = sources
        yield (
            f"all items are of one source, {source!r}: the model knows no other, so the promise is for it alone; add a folder "
            "for each machine or place that will be judged"
        )
    good = [source for source in sources if _GOOD.fullmatch(source)]
    others = sorted(sources.keys() - {*good})
    if good and others and not items.where.rule.pattern and not items.where.columns.source:
        yield (
            f"{good[0]!r} is one sub-folder of several, and all count as normal ({named(others)}): if its items alone are, "
            f"give {items.where.path / good[0]}"
        )


def check_varied(items: NormalItems, spec: InputSpec) -> Iterator[str]:
    """Yield a warning if many items are equal. Raises DatasetError if all are."""
    numbers = evenly_spaced(len(items), _COMPARED).tolist()
    seen: dict[bytes, int] = {}
    unreadable = Unreadable(items)
    for recording in unreadable.recordings(numbers, spec):
        key = recording.windows[: 1 + 1024 * 1024 // max(1, recording.windows[0].nbytes)].tobytes()
        seen[key] = seen.get(key, 0) + 1
    unreadable.refuse_many()
    most = max(seen.values())
    if len(seen) == 1:
        raise DatasetError(
            f"{items.where.name}: the {len(numbers)} items that were compared are all equal; a model of one item says nothing, "
            "so give items that vary as normal ones do"
        )
    if most * 2 > len(numbers):
        yield (
            f"{most} of {len(numbers)} items that were compared are equal; copies make the calibration look better than it is, "
            "so remove them"
        )
