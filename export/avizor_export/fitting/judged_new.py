"""Say how a version judges new normal items, and what its calibration supports and one with these items would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from avizor_export.fitting.by_chance import Asked, chance_of_as_many
from avizor_export.fitting.folder import NormalItems
from avizor_export.fitting.plan import ALPHAS
from avizor_export.fitting.split import Parts, held_of
from avizor_inference.anomaly.calibrate import score_rows
from avizor_inference.anomaly.calibration_text import lowest_alpha_text
from avizor_inference.anomaly.item_score import ItemScore
from avizor_inference.anomaly.p_values import Judge
from avizor_inference.engines.embedded import EmbeddedEngine
from avizor_inference.errors import CalibrationError
from avizor_inference.items.source_rule import DEFAULT_SOURCE
from avizor_inference.repository.calibration import Calibration
from avizor_inference.repository.models import ModelVersion

LEAST_ALPHA = 0.05  # at which the version is asked: of a smaller one a few dozen items tell nothing
# A smaller chance that as many of items that it knows as normal are flagged is none.
SURE = 0.01
_NAMED = 4  # sources


@dataclass(frozen=True)
class JudgedNew:
    """Holds how a version judges the new items that are to calibrate the next one.

    alpha: at which it is asked; 0 if it has no calibration that could tell. flagged: how many of them it flags at alpha.
    before, after: items in its calibration, and in the next one, by source. given: new items, by source. folds: of its
    calibration, if it is cross-fitted.
    """

    version: int
    alpha: float
    flagged: int
    before: Mapping[str, int]
    after: Mapping[str, int]
    given: Mapping[str, int]
    folds: int = 0

    @property
    def chance(self) -> float:
        """Return how likely at least so many are flagged of items as normal as those of its calibration; 1: not asked."""
        if not self.alpha:
            return 1.0
        compared: Counter[str] = Counter()  # by the source whose items judge them; of all together
        for source, count in self.after.items():
            compared[source if self.before.get(source) else ""] += count
        asked = (Asked(new, _count(self.before, source)) for source, new in compared.items())
        return chance_of_as_many(self.flagged, asked, self.alpha, self.folds)

    @property
    def is_needed(self) -> bool:
        """Return whether it flags clearly more of them than alpha, so that they are not what it knows as normal."""
        return self.chance < SURE

    @property
    def less_supported(self) -> list[str]:
        """Return the sources whose smallest alpha would be larger than it is, the one with the fewest items first."""
        if not self.before:
            return []
        larger = [each for each in self.after if float(_lowest(self.after, each)) > float(_lowest(self.before, each))]
        return sorted(larger, key=lambda source: self.after[source])

    def lines(self) -> Iterator[str]:
        """Yield what it says of the new items, and what the calibrations support, as lines for people."""
        if self.alpha:
            yield (
                f"version {self.version} flags {self.flagged} of {self._items} held-out new items at alpha {self.alpha:g} "
                f"({self.flagged / self._items:.1%}), which are normal: {self._verdict}"
            )
        for source in sorted(self.after, key=lambda each: self.after[each])[:_NAMED]:
            yield f"calibration of {source}: {_supports(self.before, source)} before, {_supports(self.after, source)} now"
        if (more := len(self.after) - _NAMED) > 0:
            yield f"  and of {more} more source{'s' * (more > 1)}"

    def warnings(self) -> Iterator[str]:
        """Yield what is promised no longer."""
        if worse := self.less_supported:
            of = worse[0] + (f" and {len(worse) - 1} more" if len(worse) > 1 else "")
            yield (
                f"the smallest alpha of {of} was {_lowest(self.before, worse[0])}, and is {_lowest(self.after, worse[0])}: "
                "commands that have a smaller --alpha from before flag nothing of it any more. Take the alpha of the last "
                "lines, or put more items into the folder, earlier ones too"
            )
        if self.after and (gone := [source for source in self.before if source not in self.after]) and len(self.before) > 1:
            yield (
                f"no new items are of {', '.join(gone[:_NAMED])}{' and others' if len(gone) > _NAMED else ''}: from now on all "
                f"sources together judge its items, and nothing is promised for them{self._forgotten}"
            )

    @property
    def refusal(self) -> str:
        """Return why the next version is not made unless asked, and how to go on; empty if it is."""
        if not (worse := self.less_supported):
            return ""
        lacking = [f"{self._lacking(source)} more of {source}" for source in worse[:_NAMED]]
        others = f", and more of {len(worse) - _NAMED} other sources" if len(worse) > _NAMED else ""
        needed = ", though the new items do not look normal to it" if self.is_needed else ""
        return (
            f"nothing was published: of {worse[0]} the next version would support alpha {_lowest(self.after, worse[0])}, not "
            f"{_lowest(self.before, worse[0])} as version {self.version} does{needed}{self._forgotten}. For as much, put more "
            f"normal items into the folder, earlier ones too, and run the same command: {', '.join(lacking)}{others}. Or fit "
            "all of them anew with --name; or publish it as it is with --force, and use the larger alpha"
        )

    @property
    def _forgotten(self) -> str:
        """Return what to do if the new items have no sources, and those before had; empty if not."""
        if set(self.after) != {DEFAULT_SOURCE} or not set(self.before) - {DEFAULT_SOURCE}:
            return ""
        return (
            f". The new items have no source, and those before had (such as {min(set(self.before) - {DEFAULT_SOURCE})}): give "
            "--source-column or --source-pattern as when it was fitted, or the folder above"
        )

    def _lacking(self, source: str) -> int:
        """Return how many more items of a source it takes until the next version supports as small an alpha."""
        given = total = self.given[source]
        left_out = held_of(given) - self.after[source]  # such as short ones
        while float(lowest_alpha_text(max(1, held_of(total) - left_out))) > float(_lowest(self.before, source)):
            total += 1
        return max(1, total - given)

    @property
    def _items(self) -> int:
        return sum(self.after.values())

    @property
    def _verdict(self) -> str:
        as_many = f"of as many items that it knows, at least {self.flagged} are flagged"
        if self.is_needed:
            rare = f"({as_many} in fewer than {SURE:.0%} of cases)"
            return f"clearly more than alpha {rare}, so they are not what it knows as normal"
        known = "items that it was trained with are hardly ever flagged"
        if self.flagged > self.alpha * self._items:
            return f"more than alpha, but that may be chance ({as_many} in {self.chance:.0%} of cases); {known}"
        return f"no more than alpha, so to it they are as normal as earlier ones; {known}"


def judge_new(version: ModelVersion, items: NormalItems, parts: Parts) -> JudgedNew:
    """Ask a version about the items of `parts.calibration`. Raises DatasetError for items that cannot be read."""
    with EmbeddedEngine(version.folder.parent.parent, device="cpu") as engine:
        spec = engine.spec(version.name, version.version)
        judged = [
            (recording.source, ItemScore.of(np.array(score_rows(engine, spec, recording.windows))).value, recording.is_short)
            for recording in items.recordings(parts.calibration, version.manifest.input)
        ]
    after = Counter(source for source, _, is_short in judged if not is_short)
    calibration = next((each for each in version.calibrations() if each.engine_class == "onnxruntime-cpu"), None)
    if calibration is None:
        return JudgedNew(version.version, 0.0, 0, {}, after, items.by_source)
    before = {source: count for source in calibration.sources if (count := calibration.count(source, is_short=False))}
    long = [(source, score) for source, score, is_short in judged if not is_short]
    return JudgedNew(version.version, *_flagged(calibration, before, long), before, after, items.by_source, calibration.folds)


def _flagged(calibration: Calibration, before: Mapping[str, int], scored: list[tuple[str, float]]) -> tuple[float, int]:
    """Return the alpha at which the calibration can judge each source, and how many of the items it flags; 0 and 0 if none."""
    fewest = min(before.values(), default=0)
    alpha = next((each for each in ALPHAS if each >= LEAST_ALPHA and each * (fewest + 1) >= 1), 0.0)
    judge = Judge(calibration)
    try:
        p_values = [judge.item_p_value(source, score).value for source, score in scored] if alpha else []
    except CalibrationError:  # it has none as long as these
        return 0.0, 0
    return (alpha, sum(each <= alpha for each in p_values)) if p_values else (0.0, 0)


def _count(counts: Mapping[str, int], source: str) -> int:
    """Return how many items judge those of a source: its own, or those of all sources if it has none."""
    return counts.get(source) or sum(counts.values())


def _supports(counts: Mapping[str, int], source: str) -> str:
    count = _count(counts, source)
    others = "" if counts.get(source) or not counts else " of all sources"
    return f"{count} items{others} (smallest alpha {lowest_alpha_text(count)})" if count else "none"


def _lowest(counts: Mapping[str, int], source: str) -> str:
    return lowest_alpha_text(_count(counts, source))
