"""Read the files by which a caller is known to a server, or knows the server: tokens, certificates, keys.

`avizor_client` imports no other package of Avizor, and has the same in its own `tokens.py` and `connection.py`.
"""

from __future__ import annotations

from pathlib import Path

from avizor_inference.caller_token import token_in
from avizor_inference.error_text import reason, remedy
from avizor_inference.errors import CertificateFileError, SettingsError

# Bytes that no file of certificates or tokens has.
_MOST_BYTES = 16 << 20


def read_token(path: Path) -> str:
    """Return the token in a file. Raises SettingsError: TokenFileError for a file that holds none."""
    return token_in(_read(path), path)


def read_pem(path: Path) -> bytes:
    """Return the bytes of a file of certificates, or of a key.

    Raises SettingsError: CertificateFileError for a file that is not in PEM. Of it gRPC would only say that it cannot connect.
    """
    data = _read(path)
    if b"-----BEGIN " not in data:
        raise CertificateFileError(f"{path}: is not in PEM; name a file that begins with -----BEGIN")
    return data


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:  # a pipe, perhaps
            data = opened.read(_MOST_BYTES)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({reason(error)}); {remedy(error, 'name another file')}") from error
    if len(data) == _MOST_BYTES:
        raise SettingsError(f"{path}: is too large; name another file")
    return data
