"""deploy/secrets.sh makes what is missing, adds the hosts that are named later, and never replaces what its owner put there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.environment import ROOT

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the secrets, beside a copy of the script."""
    shutil.copy(ROOT / "deploy" / "secrets.sh", tmp_path)
    (tmp_path / "secrets").mkdir()
    for name in ("certificate", "key", "clients"):
        (tmp_path / "secrets" / name).mkdir()
    return tmp_path / "secrets"


def run(folder: Path, *hosts: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder.parent / "secrets.sh", *hosts], capture_output=True, text=True, check=False)


def openssl(folder: Path, *arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def names(folder: Path) -> str:
    return openssl(folder, "x509", "-in", "certificate/tls.crt", "-noout", "-ext", "subjectAltName")


def put_a_certificate_of_the_owner(folder: Path) -> None:
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=door.example.com", "-days", "90",
            "-addext", "subjectAltName=DNS:door.example.com", "-keyout", "key/tls.key",
            "-out", "certificate/tls.crt")  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_makes_a_pair_that_belongs_together_and_two_clients(folder: Path) -> None:
    assert run(folder).returncode == 0
    assert openssl(folder, "pkey", "-in", "key/tls.key", "-pubout") == openssl(
        folder, "x509", "-in", "certificate/tls.crt", "-noout", "-pubkey"
    )
    lines = [f'"Bearer {(folder / file).read_text().strip()}" "{name}";' for name, file in CLIENTS.items()]
    assert (folder / "clients/tokens").read_text().splitlines() == lines


MOVED = {"certificate/tls.crt": "tls.crt", "key/tls.key": "tls.key", "clients/tokens": "tokens", "probe/token": "probe-token"}
CLIENTS = {"local": "token", "probe": "probe/token"}


def test_a_second_run_changes_nothing(folder: Path) -> None:
    run(folder)
    before = contents(folder)
    again = run(folder, "localhost", "127.0.0.1")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert contents(folder) == before


def test_hosts_that_are_named_later_are_added_to_its_certificate_and_the_key_stays(folder: Path) -> None:
    run(folder, "first.example.com")
    before = contents(folder)
    done = run(folder, "second.example.com", "192.0.2.7", "2001:db8::7")
    assert done.returncode == 0, done.stderr
    for name in ("localhost", "nginx", "first.example.com", "second.example.com"):
        assert f"DNS:{name}" in names(folder)
    assert "IP Address:192.0.2.7" in names(folder)
    assert "IP Address:2001:DB8:0:0:0:0:0:7" in names(folder)
    after = contents(folder)
    assert after.pop("certificate/tls.crt") != before.pop("certificate/tls.crt")
    assert after == before
    assert run(folder, "first.example.com", "2001:db8::7").stdout == ""


def test_the_certificate_of_the_owner_is_not_replaced(folder: Path) -> None:
    put_a_certificate_of_the_owner(folder)
    before = contents(folder)
    assert run(folder, "door.example.com").returncode == 0
    refused = run(folder, "other.example.com")
    assert refused.returncode == 1
    assert "does not name other.example.com" in refused.stderr
    assert contents(folder).items() >= before.items()


def test_nor_is_it_where_its_key_is_lost_or_another(folder: Path) -> None:
    put_a_certificate_of_the_owner(folder)
    certificate = (folder / "certificate/tls.crt").read_bytes()
    (folder / "key/tls.key").unlink()
    refused = run(folder, "door.example.com")
    assert refused.returncode == 1
    assert "key/tls.key is missing" in refused.stderr
    openssl(folder, "genpkey", "-algorithm", "ed25519", "-out", "key/tls.key")
    refused = run(folder)
    assert refused.returncode == 1
    assert "key/tls.key is not the key of certificate/tls.crt" in refused.stderr
    assert (folder / "certificate/tls.crt").read_bytes() == certificate


def test_a_client_is_added_on_a_line_of_its_own_to_an_older_file(folder: Path) -> None:
    (folder / "clients/tokens").write_text('"Bearer 0f" "old";')
    assert run(folder).returncode == 0
    old, probe = (folder / "clients/tokens").read_text().splitlines()
    assert old == '"Bearer 0f" "old";'
    assert probe == f'"Bearer {(folder / "probe/token").read_text().strip()}" "probe";'


def test_a_probe_that_is_no_client_becomes_one(folder: Path) -> None:
    run(folder)
    (folder / "clients/tokens").write_text('"Bearer 0f" "old";\n')
    assert "created the client probe" in run(folder).stdout
    assert f'"Bearer {(folder / "probe/token").read_text().strip()}" "probe";' in (folder / "clients/tokens").read_text()
    assert run(folder).stdout == ""


def test_files_where_they_were_before_are_moved_and_not_made_again(folder: Path) -> None:
    run(folder)
    before = contents(folder)
    for name, old in MOVED.items():
        (folder / name).rename(folder / old)
    assert run(folder).stdout == ""
    assert contents(folder) == before


def test_what_the_owner_puts_there_can_be_read_in_containers_and_by_nobody_else(folder: Path) -> None:
    put_a_certificate_of_the_owner(folder)
    (folder / "key/tls.key").chmod(0o600)
    assert run(folder).returncode == 0
    assert (folder / "key/tls.key").stat().st_mode & 0o777 == 0o644
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("host", ["a,DNS:b", "", "https://a", "-a", "a b", "[::1]"])
def test_what_is_no_host_is_refused_before_anything_is_made(folder: Path, host: str) -> None:
    refused = run(folder, host)
    assert refused.returncode == 1
    assert "is no name or address of a host" in refused.stderr
    assert contents(folder) == {}


def test_a_certificate_that_ends_soon_is_told(folder: Path) -> None:
    run(folder)
    openssl(folder, "req", "-x509", "-key", "key/tls.key", "-subj", "/CN=avizor", "-days", "10", "-addext",
            "subjectAltName=DNS:localhost", "-out", "certificate/tls.crt")  # fmt: skip
    told = run(folder)
    assert told.returncode == 0
    assert "replace it before" in told.stderr
