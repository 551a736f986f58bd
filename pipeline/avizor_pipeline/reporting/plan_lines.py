"""Say before a run begins how the dataset and the models have changed since the runs before."""

from __future__ import annotations

from collections.abc import Iterator

from avizor_inference.error_text import printable
from avizor_inference.repository.models import ModelRepository
from avizor_pipeline.known_files import Names
from avizor_pipeline.plan import Plan
from avizor_pipeline.reporting.progress import counted_of
from avizor_pipeline.settings import JobSettings


def change_lines(plan: Plan, *, redo: bool) -> Iterator[str]:
    """Yield a line for each kind of change since the earlier runs; nothing before the first. redo: changed files are done."""
    if not plan.rounds:
        return
    changes = plan.changes
    new = items_are(changes.new, plan.noun) if changes.new else f"no {plan.noun.removesuffix('s')} is"
    yield f"{new} new since the last run"
    if changes.changed.count:
        what = (
            "done again"
            if redo
            else "left as they are in the tables; --changed redo does them again (avizor retry: only dead letters)"
        )
        yield _line(changes.changed, f"changed since, {what}")
    if changes.gone.count:
        unless = ", unless a file of their shard is done again" if redo and changes.changed.count else ""
        yield _line(changes.gone, f"gone; what the tables have of them stays{unless}")
    if changes.unlisted.count:
        yield _line(changes.unlisted, "not listed any more; what the tables have of them stays")


def version_lines(settings: JobSettings) -> Iterator[str]:
    """Yield a line for each model that is served in another version than the one that the job began with."""
    repository = ModelRepository(settings.repository)
    for model in settings.models:
        served = repository.served(model.name).version
        if served != model.version:
            yield f"{model.name}: version {model.version} goes on, with which this job began; version {served} is served now"


def _line(names: Names, what: str) -> str:
    return f"{items_are(names.count, 'files')} {what}: {printable(str(names))}"


def items_are(count: int, plural: str) -> str:
    """Return a number of things as the beginning of a sentence. plural: of their noun, with an s."""
    return f"{counted_of(count, plural)} {'is' if count == 1 else 'are'}"
