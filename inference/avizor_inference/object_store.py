"""Open an object store by the URL of what is in it, and say in words what goes wrong there.

The stores are those of obstore: s3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/KEY and http(s)://HOST/PATH. Credentials and
endpoints are what the environment says, by the names that each cloud's own tools use (docs/object-stores.md); none is ever
part of a URL, because URLs are written into tables.

An object travels as a `pathlib.Path`, which writes `s3://` with one slash; `url_of` writes both.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from avizor_inference.error_text import shortened
from avizor_inference.errors import MediaError, SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from obstore import ObjectMeta

_URL = re.compile(r"(s3|gs|az|https?):(/|$)")

# A request is sent again after errors of the connection and of the server (5xx, 429). Hasty: so that a wrong address is told of
# at once. Patient: a store may be away for two minutes; that is within the time limit for a file.
_HASTY = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
_PATIENT = {
    "max_retries": 1000,
    "retry_timeout": timedelta(seconds=120),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5)},
}
_PATIENT_TIMEOUT, _HASTY_TIMEOUT = timedelta(seconds=90), timedelta(seconds=15)

# Where the environment may name another server than the cloud's. One without TLS is used only if it is named so.
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "AZURITE_BLOB_STORAGE_URL")

# What a cloud asks for when it has found no credentials: the addresses of the machine's own role.
_ROLE_SERVERS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")

# What obstore says of an answer that ends too soon; and the rests before it is asked for again.
_CUT_OFF = ("request or response body error", "Got invalid list response")
_RESTS_S = (0.1, 0.5, 2.0)

# Codes of S3 that concern the whole job, though a request for one object was answered with them.
_WHOLE_JOB = {
    "ExpiredToken": "the credentials have expired",
    "InvalidAccessKeyId": "the access key is not known",
    "InvalidToken": "the session token is not valid",
    "NoSuchBucket": "the bucket does not exist",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "SignatureDoesNotMatch": "the secret key is wrong",
}


class Place(NamedTuple):
    """Says where an object or a prefix is: in an obstore store, which is of one bucket, under a key."""

    store: Any
    key: str


def is_url(path: str | PurePath) -> bool:
    """Return whether a text or a path is the URL of something in an object store."""
    text = str(path)
    return ":" in text and bool(_URL.match(text))  # first what is quick: it is asked for each of millions of files


def url_of(path: str | PurePath) -> str:
    """Return a path's text, in which the URL of an object has both slashes: `s3://bucket/key`. Any other text is unchanged."""
    text = str(path)
    match = _URL.match(text) if ":" in text else None
    return f"{match[1]}://{text[match.end() :].lstrip('/')}" if match else text


def place_of_url(url: str | PurePath, *, patient: bool = True) -> Place:
    """Open the store of a URL, or find it open. Nothing is sent. patient: whether a store that is away is waited for.

    Raises SettingsError if obstore is not installed, or if no store can be opened by this URL.
    """
    text = url_of(url)
    scheme, _, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise SettingsError(f"{text} names no bucket; write {scheme}://BUCKET/KEY")
    is_http = scheme.startswith("http")
    if "@" in bucket or (is_http and "?" in key):
        raise SettingsError(
            f"{scheme}://{bucket.rpartition('@')[2]}/{key.partition('?')[0]}: a URL with a password or a signature would "
            "be written into the tables; give one without"
        )
    key = unquote(key) if is_http else key
    return Place(_store(scheme, bucket, patient), key.strip("/"))


@lru_cache(maxsize=64)
def _store(scheme: str, bucket: str, patient: bool) -> Any:
    try:
        # First the package: another thread may be importing it, and its module `store` is whole before it is.
        import obstore
        from obstore.exceptions import BaseError
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{scheme}://{bucket}: object stores are read by {error.name}, which is not installed; "
            "pip install 'avizor[object-stores]'"
        ) from error
    plain = scheme == "http" or any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
    client: Any = {"timeout": _PATIENT_TIMEOUT if patient else _HASTY_TIMEOUT} | ({"allow_http": True} if plain else {})
    retry: Any = _PATIENT if patient else _HASTY
    try:
        return obstore.store.from_url(f"{scheme}://{bucket}", client_options=client, retry_config=retry)
    except (BaseError, ValueError) as error:
        raise SettingsError(f"{scheme}://{bucket} cannot be opened: {_told(error)}; see docs/object-stores.md") from error


class StoreState(NamedTuple):
    """Tells one version of an object from another: size in bytes, and a time in ns since 1970.

    Stores tell the time of change in whole seconds. The digits below are a digest of the ETag, which differs in each version.
    """

    size: int
    modified_ns: int


def state_of_object(meta: ObjectMeta) -> StoreState:
    """Return the state of an object, which is the same from a listing and from a request for the object itself."""
    tag = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    digits = int.from_bytes(hashlib.blake2b(tag.encode(), digest_size=8).digest(), "little") % 10**9 if tag else 0
    return StoreState(meta["size"], int(meta["last_modified"].timestamp()) * 10**9 + digits)


@contextmanager
def in_words(url: str | PurePath) -> Iterator[None]:
    """Turn what obstore raises into errors of ours.

    MediaError: the object is not there, or this object alone is refused. StoreUnavailable: what goes for all objects; the store
    cannot be reached, or does not know the credentials.
    """
    from obstore.exceptions import BaseError, InvalidPathError

    try:
        yield
    except FileNotFoundError as error:
        if problem := _WHOLE_JOB.get(_code(error)):
            raise _unavailable(url, problem) from error
        raise MediaError("there is no such object in the store") from error
    except (InvalidPathError, ValueError) as error:
        raise MediaError(f"its name cannot be read ({_told(error)}); give it another one") from error
    except BaseError as error:
        raise _of_base_error(url, error) from error


def _of_base_error(url: str | PurePath, error: Exception) -> MediaError | StoreUnavailable:
    from obstore.exceptions import PermissionDeniedError, PreconditionError

    code = _code(error)
    if isinstance(error, PreconditionError):
        return MediaError("the object was changed while it was read; run again when it is finished")
    if any(server in str(error) for server in _ROLE_SERVERS):
        return _unavailable(url, "there are no credentials; set them in the environment, for S3 AWS_ACCESS_KEY_ID and "
                            "AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket")  # fmt: skip
    if code in _WHOLE_JOB:
        return _unavailable(url, _WHOLE_JOB[code])
    if code == "InvalidObjectState":
        return MediaError("the object is in an archive; restore it first")
    if isinstance(error, PermissionDeniedError) or code == "AccessDenied":
        return MediaError(f"the store refuses it ({code or 'permission denied'}); see its permissions")
    return _unavailable(url, _told(error))


def was_cut_off(error: StoreUnavailable) -> bool:
    """Return whether the store began to answer, and the answer ended too soon. obstore does not ask again then."""
    return any(text in str(error.__cause__) for text in _CUT_OFF)


def rests_to_retry() -> Iterator[bool]:
    """Yield True after a rest, longer each time, for each time that a request is worth to be sent again."""
    for seconds in _RESTS_S:
        time.sleep(seconds)
        yield True


def _unavailable(url: str | PurePath, problem: str) -> StoreUnavailable:
    return StoreUnavailable(f"{url_of(url)}: {problem}")


def _code(error: Exception) -> str:
    """Return the code in an answer of S3, such as AccessDenied; "" if there is none."""
    match = re.search(r"<Code>(\w+)</Code>", str(error))
    return match[1] if match else ""


def _told(error: Exception) -> str:
    """Return what obstore says, as one line without the queries of URLs: these can hold a signature."""
    text = str(error).partition("Debug source:")[0]
    if answer := re.search(r"<Code>(\w+)</Code>.*?<Message>([^<]*)", text, re.DOTALL):
        return shortened(f"{answer[1]}: {answer[2]}")
    if answer := re.search(r"status code: (\d+ [A-Za-z ]+)", text):
        return f"the store answers {answer[1].strip()}"
    if answer := re.search(r"performing \w+ (https?://[^/\s]+).*HTTP error: ([^\n]*)", text, re.DOTALL):
        return shortened(f"{answer[1]} cannot be reached ({answer[2]}); see the address and the network")
    return shortened(re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", text))
