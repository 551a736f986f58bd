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
        it, does = ("it is", "it") if changes.changed.count == 1 else ("they are", "them")
        what = (
            "done again"
            if redo
            else f"left as {it} in the tables; --changed redo does {does} again (avizor retry: only dead letters)"
        )
        yield _line(changes.changed, f"changed since, {what}")
    if changes.gone.count:
        lost = "those that share a shard with a changed file become dead letters"
        but = "" if not changes.changed.count else f", but {lost}" if redo else f" (with --changed redo {lost})"
        yield _line(changes.gone, f"gone; {_stays(changes.gone)}{but}")
    if changes.unlisted.count:
        yield _line(changes.unlisted, f"not listed any more; {_stays(changes.unlisted)}")


def version_lines(settings: JobSettings) -> Iterator[str]:
    """Yield a line for each model that is served in another version than the one that the job began with."""
    repository = ModelRepository(settings.repository)
    for model in settings.models:
        served = repository.served(model.name).version
        if served != model.version:
            yield f"{model.name}: version {model.version} goes on, with which this job began; version {served} is served now"


def _stays(names: Names) -> str:
    return f"what the tables have of {'it' if names.count == 1 else 'them'} stays"


def _line(names: Names, what: str) -> str:
    return f"{items_are(names.count, 'files')} {what}: {printable(str(names))}"


def items_are(count: int, plural: str) -> str:
    """Return a number of things as the beginning of a sentence. plural: of their noun, with an s."""
    return f"{counted_of(count, plural)} {'is' if count == 1 else 'are'}"
