"""Run `avizor fit` on a set, and measure what it made beside the example."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import numpy as np
from fit.sets import FitSet
from sklearn.metrics import roc_auc_score

from avizor_inference import (
    Calibration,
    Columns,
    EmbeddedEngine,
    ItemScore,
    Judge,
    ModelRepository,
    ModelVersion,
    SourceRule,
    read_recordings,
)
from avizor_inference.anomaly.calibrate import score_rows

ALPHA = 0.05
SPLITS = 20
# Window scores of items, by source.
Scored = Mapping[str, Sequence[tuple[float, ...]]]


def measure(each: FitSet, out: Path) -> str:
    """Return a row of the table."""
    with contextlib.redirect_stdout(StringIO()), contextlib.redirect_stderr(StringIO()):
        by_hand = each.by_hand(out / each.name / "by-hand")
    seconds, version = fit(each.normal, each.name, out / each.name / "models")
    normal, odd = scores(version, each.test_normal), scores(version, each.test_odd)
    area = auc(normal, odd)
    items = sum(map(len, version.calibrations()[0].sources.values()))
    flagged = shares_flagged(version, normal)
    mean, error = np.mean(flagged), np.std(flagged) / np.sqrt(len(flagged))
    return f"| {each.name} | {items} calibrate | {seconds / 60:.1f} | {by_hand:.3f} | {area:.3f} | {mean:.1%} ± {error:.1%} |"


def fit(folder: Path, name: str, models: Path, *options: str) -> tuple[float, ModelVersion]:
    """Run the command, and return the seconds that it took, and what it published. Raises SystemExit."""
    started = time.monotonic()
    avizor = str(Path(sys.executable).with_name("avizor"))
    output = printed_by([avizor, "fit", str(folder), "--name", name, "--models", str(models), *options])
    (models / f"{name}.txt").write_text(output, encoding="utf-8")
    return time.monotonic() - started, ModelRepository(models).version(name)


def printed_by(command: Sequence[str]) -> str:
    """Run a command, and return what it prints. Raises SystemExit with what it says if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def scores(version: ModelVersion, path: Path) -> dict[str, list[tuple[float, ...]]]:
    """Return the window scores of the items at a path, by source, through the embedded engine."""
    scored: dict[str, list[tuple[float, ...]]] = {}
    with EmbeddedEngine(version.folder.parent.parent, device="cpu") as engine:
        spec = engine.spec(version.name, version.version)
        for recording in read_recordings(path, version.manifest.input, SourceRule(), Columns()):
            scored.setdefault(recording.source, []).append(score_rows(engine, spec, recording.windows))
    return scored


def item_scores(scored: Scored) -> np.ndarray:
    """Return the score of each item."""
    return np.array([ItemScore.of(np.array(windows)).value for items in scored.values() for windows in items])


def auc(normal: Scored, odd: Scored) -> float:
    """Return the ROC AUC of items by their scores."""
    values = [item_scores(normal), item_scores(odd)]
    labels = np.concatenate([np.full(len(part), number) for number, part in enumerate(values)])
    return float(roc_auc_score(labels, np.concatenate(values)))


def shares_flagged(version: ModelVersion, normal: Scored) -> list[float]:
    """Return the share of normal items that is flagged, for SPLITS divisions of calibration and test items among both."""
    (calibration,) = version.calibrations()
    shares = []
    for seed in range(SPLITS):
        rng = np.random.default_rng(seed)
        held: dict[str, tuple[tuple[float, ...], ...]] = {}
        tested: list[tuple[str, tuple[float, ...]]] = []
        for source, before in calibration.sources.items():
            together = [*before, *normal.get(source, ())]
            order = rng.permutation(len(together))
            held[source] = tuple(together[place] for place in order[: len(before)])
            tested += [(source, together[place]) for place in order[len(before) :]]
        judge = Judge(calibration.model_copy(update={"sources": held, "created": datetime.now(UTC)}))
        shares.append(np.mean([is_flagged(judge, source, windows) for source, windows in tested]))
    return [float(share) for share in shares]


def is_flagged(judge: Judge, source: str, windows: Sequence[float]) -> bool:
    """Return whether an item with these window scores is flagged at ALPHA."""
    return judge.item_p_value(source, ItemScore.of(np.array(windows)).value).value <= ALPHA


def flagged_by(calibration: Calibration, normal: Scored) -> float:
    """Return the share of these normal items that a calibration flags at ALPHA."""
    judge = Judge(calibration)
    return float(np.mean([is_flagged(judge, source, windows) for source, items in normal.items() for windows in items]))
