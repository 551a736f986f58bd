"""Read a model in an object store: URL/NAME, laid out as in a repository.

A version counts once its manifest.json is there and config.pbtxt has its digest. These two are written last, so that nobody
sees half a version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from tritonclient.grpc.model_config_pb2 import ModelConfig

from avizor_inference.error_text import named, reason, remedy
from avizor_inference.errors import ModelNotFound, RepositoryError, SettingsError, StoreUnavailable
from avizor_inference.items.object_path import SCHEMES, ObjectPath, Version
from avizor_inference.repository.manifest import MANIFEST_FILE, Manifest
from avizor_inference.repository.triton_config import (
    CONFIG_FILE,
    OVERRIDES_FILE,
    digests_in,
    parse_config,
    served_versions,
)
from avizor_inference.strict_json import validation_message

# Names of files of a version. Others are no files of ours, and stay where they are.
FILE = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


def store_of(url: str) -> ObjectPath:
    """Return the place of the models at a URL. Raises SettingsError if it is no object store."""
    if url.partition("://")[0] not in SCHEMES:
        raise SettingsError(
            f"{url} is no object store; give s3://, gs:// or az://BUCKET/PREFIX. A folder of models is copied as it is: `cp -a`"
        )
    return ObjectPath.parse(url)


@contextmanager
def in_words(place: ObjectPath) -> Iterator[None]:
    """Turn what a store, or a disk, refuses during the block into RepositoryError."""
    try:
        yield
    except OSError as error:
        what_to_do = remedy(error, "mend that, and give the command again")
        raise RepositoryError(f"{error.filename or place}: {reason(error)}; {what_to_do}") from error


def is_away(error: BaseException | None) -> bool:
    """Return whether an error comes from a store that gives no answer, or answers nothing to this user."""
    return error is not None and (isinstance(error, StoreUnavailable) or is_away(error.__cause__))


@dataclass(frozen=True)
class StoredModel:
    """Holds what a store says of a model. config: the text of config.pbtxt; None if there is no such model.

    state: which config.pbtxt it is, to replace that one only. parsed: what it says; empty if there is none.
    """

    place: ObjectPath
    config: str | None
    state: Version | None
    parsed: ModelConfig

    @classmethod
    def read(cls, place: ObjectPath) -> StoredModel:
        """Read it. Raises OSError, RepositoryError."""
        path = place / CONFIG_FILE
        try:
            content, state = path.read_version()
        except FileNotFoundError:
            return cls(place, None, None, ModelConfig())
        text = _text(content, path)
        return cls(place, text, state, parse_config(text, str(path)))

    @cached_property
    def versions(self) -> Mapping[int, Manifest]:
        """Return the manifests of the versions that count, by their numbers, ascending. Raises OSError, RepositoryError."""
        if self.config is None:
            return {}
        there = set(self.place.listed().folders)
        digests = digests_in(self.parsed)
        numbers = sorted(number for number, sha256 in digests.items() if sha256 and str(number) in there)
        found = {number: self._manifest(number, digests[number]) for number in numbers}
        return {number: manifest for number, manifest in found.items() if manifest}

    def overrides(self) -> str:
        """Return the text of config.overrides.pbtxt; "" if there is none. Raises OSError, RepositoryError."""
        path = self.place / OVERRIDES_FILE
        try:
            text = _text(path.read_bytes(), path)
        except FileNotFoundError:
            return ""
        parse_config(text, str(path))
        return text

    def chosen(self, version: int | None) -> int:
        """Return the number of a version that counts: the one that is named, or the one that config.pbtxt serves.

        Raises OSError, ModelNotFound, RepositoryError.
        """
        numbers = list(self.versions)
        if not numbers:
            raise ModelNotFound(f"{self.place} holds no version of a model; `avizor models push` brings one there")
        if version is not None and version not in numbers:
            raise ModelNotFound(f"{self.place} has no version {version}; it has {named([*map(str, numbers)], 10)}")
        return version or (served_versions(self.parsed, numbers) or numbers)[-1]

    def _manifest(self, number: int, sha256: str) -> Manifest | None:
        path = self.place / str(number) / MANIFEST_FILE
        try:
            manifest = Manifest.from_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RepositoryError(f"{path} is not a manifest: {validation_message(error)}; {_again(number)}") from error
        if (manifest.name, manifest.version) != (self.place.name, number):
            raise RepositoryError(
                f"{path} is of {manifest.name} version {manifest.version}: it was copied there by other means. A version keeps "
                f"its name and number; remove all below {number}/ there"
            )
        if manifest.model_sha256 != sha256:
            raise RepositoryError(f"{path} is of another version than {CONFIG_FILE} says; {_again(number)}")
        return manifest


def names_at(place: ObjectPath) -> list[str]:
    """Return the names of the models at a place. Raises OSError, ModelNotFound if there is none."""
    names = [name for name in place.listed().folders if (place / name / CONFIG_FILE).exists()]
    if not names:
        raise ModelNotFound(f"{place} holds no models; `avizor models push --to {place}` brings them there")
    return names


def _again(number: int) -> str:
    return f"remove all below {number}/ there, and push that version again"


def _text(content: bytes, path: ObjectPath) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise RepositoryError(f"{path} is not UTF-8; push the model again") from error
