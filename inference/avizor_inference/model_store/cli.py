"""Run `avizor models push` and `avizor models pull`: copy models to an object store, and from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from avizor_inference.error_text import counted, named
from avizor_inference.errors import AvizorError, ModelNotFound, RepositoryError, SettingsError
from avizor_inference.model_options import models_option, version_option
from avizor_inference.model_store.pull import Pulled, pull
from avizor_inference.model_store.push import Pushed, push
from avizor_inference.model_store.stored_model import StoredModel, in_words, is_away, names_at, store_of
from avizor_inference.repository.models import ModelRepository

# Of so many models is said why they were refused.
_TOLD = 20

_PUSH_EXAMPLES = """\b
Examples:
  avizor models push --to s3://company-models/production
  avizor models push pumps --version 3 --to s3://company-models/production
"""
_PULL_EXAMPLES = """\b
Examples:
  avizor models pull --from s3://company-models/production
  avizor models pull pumps --from s3://company-models/production --models /srv/models
"""


@click.command("push", short_help="Copy models to an object store.", epilog=_PUSH_EXAMPLES)
@click.argument("names", nargs=-1)
@click.option("--to", "url", metavar="URL", required=True, help="Where the models are: s3://, gs:// or az://BUCKET/PREFIX.")
@models_option
@version_option("the one that is served")
def push_command(names: tuple[str, ...], url: str, models: Path, version: int | None) -> None:
    """Copy the models called NAMES to an object store, all of the repository by default.

    A version is checked first, and counts there once all of it is there: model, calibrations, labels and config.pbtxt. What is
    there already is not sent again, so that a push that was stopped goes on. A version that is there is never replaced by
    another one; config.pbtxt and the choice of calibrations are replaced by those of this repository.
    """
    _refuse_a_version_of_many(names, version)
    repository, store = ModelRepository(models), store_of(url)

    def copy(name: str) -> None:
        click.echo(f"{name}: {_pushed(push(repository.served(name, version), store))}")

    _for_each(names or _names(repository), copy)


@click.command("pull", short_help="Copy models from an object store.", epilog=_PULL_EXAMPLES)
@click.argument("names", nargs=-1)
@click.option("--from", "url", metavar="URL", required=True, help="Where the models are: s3://, gs:// or az://BUCKET/PREFIX.")
@models_option
@version_option("the one that the store's config.pbtxt serves")
def pull_command(names: tuple[str, ...], url: str, models: Path, version: int | None) -> None:
    """Copy the models called NAMES from an object store into a repository, all of the store by default.

    A version is checked before it appears, by one rename, as after an export: a gateway serves it after its next look. A model
    that is here keeps its config.pbtxt, with its settings and its choice of a version. Of a version that is here, the
    calibrations that are new are copied; those that are active in the store are activated.
    """
    _refuse_a_version_of_many(names, version)
    store = store_of(url)
    with in_words(store):
        names = names or tuple(names_at(store))

    def copy(name: str) -> None:
        with in_words(store / name):
            stored = StoredModel.read(store / name)
            if stored.config is None:
                raise ModelNotFound(f"no model named {name!r} at {store}. Available: {named(names_at(store), 10)}")
        pulled = pull(stored, version, models)
        click.echo(f"{name}: {_pulled(pulled)}")
        for note in pulled.notes:
            click.echo(f"  note: {note}")

    _for_each(names, copy)


def _refuse_a_version_of_many(names: tuple[str, ...], version: int | None) -> None:
    if version is not None and len(names) != 1:
        raise SettingsError("--version is of one model; name it, as in `avizor models push pumps --version 3`")


def _for_each(names: Sequence[str], copy: Callable[[str], None]) -> None:
    """Copy each model; one that is refused keeps no other from that. Raises AvizorError at the end.

    A store that is away ends all: each of the others would wait for it, too.
    """
    refused: list[AvizorError] = []
    for name in names:
        try:
            copy(name)
        except AvizorError as error:
            refused.append(error)
            if is_away(error):
                break
    if len(refused) == 1:
        raise refused[0]
    if refused:
        more = [f"and {len(refused) - _TOLD} more"] if len(refused) > _TOLD else []
        raise RepositoryError("\n".join([*map(str, refused[:_TOLD]), *more]))


def _names(repository: ModelRepository) -> list[str]:
    if names := repository.names():
        return names
    raise SettingsError(f"no models in {repository.root}; name a repository with --models")


def _pushed(pushed: Pushed) -> str:
    if not pushed.is_new:
        return f"{pushed.place} was there{_new(pushed.calibrations)}"
    return f"{pushed.place} is there now ({pushed.bytes / 1e6:.2f} MB sent)"


def _pulled(pulled: Pulled) -> str:
    if not pulled.is_new:
        return f"{pulled.version.folder} was here{_new(pulled.calibrations)}"
    fetched = sum(path.stat().st_size for path in pulled.version.folder.iterdir() if path.is_file())
    return f"{pulled.version.folder} is here now ({fetched / 1e6:.2f} MB fetched)"


def _new(calibrations: int) -> str:
    return f", with {counted(calibrations, 'new calibration')}" if calibrations else ""
