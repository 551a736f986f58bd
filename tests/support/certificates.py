"""Write certificates, keys and their roots as files, as tests of TLS need them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Files:
    """The files of one side of TLS."""

    certificate: Path
    key: Path
    root: Path

    def write(self, root: trustme.CA, expires: datetime | None = None) -> None:
        """Write a new certificate, and its key, over those that are there."""
        issued = root.issue_cert("localhost", "127.0.0.1", "::1", not_after=expires)
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        self.root.write_bytes(root.cert_pem.bytes())


def certificate_files(folder: Path, root: trustme.CA, name: str = "server", expires: datetime | None = None) -> Files:
    """Return the files NAME.crt, NAME.key and NAME.root.crt, with a certificate for this machine that the root has signed."""
    files = Files(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.root.crt")
    files.write(root, expires)
    return files
