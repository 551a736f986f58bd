"""Run `avizor batch` in the stack's container: first what only the container can get wrong is checked, and said in its words.

    batch.py OPTION... SOURCE... OPTION...

The first options are the stack's, in docker-compose.yml; the rest is what a user gave. SOURCE is below /data, the folder that
AVIZOR_BATCH_DATA names; results are written below /results, AVIZOR_BATCH_RESULTS. Exit code: 1 for what is wrong here, else
that of `avizor batch`, whose process this one becomes.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

DATA, RESULTS = Path("/data"), Path("/results")
TRITON_TIMEOUT_S = 5.0
HOW = "docker-compose run --rm"


def main(given: Sequence[str]) -> NoReturn:
    """Check, and become the job. given: the command line, without the name of this program."""
    if not {"-h", "--help"} & set(given):
        problem = user_problem() or data_problem(given) or results_problem(given) or triton_problem(given)
        if problem:
            sys.exit(f"Error: {problem}")
        os.chdir(DATA)  # so that SOURCE, and `uri` in the tables, are as the user's folder has them
    os.execvp("avizor", ["avizor", "batch", *given])  # noqa: S606


def user_problem() -> str:
    """Say that the container was started as root, or nothing."""
    if os.getuid() != 0:
        return ""
    return (
        "the job does not run as root: give the folder of the results to a user (chown), and name that user, as in "
        f"{HOW} --user 1000:1000 batch"
    )


def data_problem(given: Sequence[str]) -> str:
    """Say what is wrong with the folder of the data, or with a SOURCE in it, or nothing."""
    if not DATA.is_dir():
        return (
            "no data are here: name their folder in AVIZOR_BATCH_DATA (in the environment or in .env), and give SOURCE as it "
            f"is called in there: AVIZOR_BATCH_DATA=/srv/recordings {HOW} batch july --model NAME"
        )
    if not os.access(DATA, os.R_OK | os.X_OK):
        return (
            f"user {user()} may not read the folder of the data, AVIZOR_BATCH_DATA, which belongs to {owner(DATA)} with mode "
            f"{DATA.stat().st_mode & 0o777:o}: let others read it, or run the job as one who may ({HOW} --user UID:GID batch)"
        )
    for source in sources(given):
        if re.match(r"(s3|gs|az|https?)://", source):
            return f"{source}: containers of the stack reach no store; run avizor batch outside of it"
        is_pattern = any(mark in source for mark in "*?")
        if source != "-" and not is_pattern and not os.path.lexists(DATA / source):
            here = ", ".join(sorted(os.listdir(DATA))[:5])
            return (
                f"{printable(source)}: no such file or folder in the data. SOURCE is below AVIZOR_BATCH_DATA, here {DATA}"
                + (f", which holds {printable(here)}" if here else "")
            )
    return ""


def sources(given: Sequence[str]) -> list[str]:
    """Return what stands between the stack's options and the first option of the user: the SOURCEs, where they come first."""
    after = 0
    while after < len(given) and given[after].startswith("--"):
        after += 1 if "=" in given[after] else 2
    found = []
    for argument in given[after:]:
        if argument.startswith("-") and argument != "-":
            break
        found.append(argument)
    return found


def results_problem(given: Sequence[str]) -> str:
    """Say why results cannot be written, or would be lost with the container, or nothing."""
    if not RESULTS.is_dir():
        return (
            "no folder for results is here: make one that you own, and name it in AVIZOR_BATCH_RESULTS (in the environment or "
            f"in .env): mkdir results && AVIZOR_BATCH_RESULTS=./results {HOW} batch july --model NAME"
        )
    out = Path(os.path.normpath(DATA / value(given, "--out")))
    if not out.is_relative_to(RESULTS):
        return (
            f"--out {printable(str(out))} would be lost with the container; give a folder below {RESULTS}, or leave --out out"
        )
    if os.access(RESULTS, os.W_OK | os.X_OK):
        return ""
    if os.statvfs(RESULTS).f_flag & os.ST_RDONLY:
        return "the folder of the results, AVIZOR_BATCH_RESULTS, is on a disk that is mounted read-only: name another"
    who = owner(RESULTS)
    said = f"user {user()} cannot write the folder of the results, AVIZOR_BATCH_RESULTS, which belongs to {who}"
    if RESULTS.stat().st_uid == 0:
        return f'{said}, root: give it to yourself with sudo chown "$(id -u):$(id -g)" and use --user "$(id -u):$(id -g)"'
    return f"{said}: use {HOW} --user {who} batch, or AVIZOR_BATCH_USER={who} in .env"


def user() -> str:
    """Return as whom this process runs: UID:GID."""
    return f"{os.getuid()}:{os.getgid()}"


def owner(folder: Path) -> str:
    """Return UID:GID of who owns a folder."""
    found = folder.stat()
    return f"{found.st_uid}:{found.st_gid}"


def triton_problem(given: Sequence[str]) -> str:
    """Say that the stack does not answer, or nothing, also if the job does not use it."""
    engine = re.fullmatch(r"triton://([\w.-]+)(?::(\d+))?", value(given, "--engine"))
    if engine is None:
        return ""
    host, port = engine[1], int(engine[2] or 8001)
    try:
        socket.create_connection((host, port), TRITON_TIMEOUT_S).close()
    except OSError as error:
        return (
            f"{host}:{port} does not answer ({error.strerror or error}): is the stack up? `docker-compose ps {host}` shows it, "
            "and `make up` starts it"
        )
    return ""


def value(given: Sequence[str], option: str) -> str:
    """Return the last value of an option, as `avizor batch` takes it; "" if it is not there."""
    found = ""
    for number, argument in enumerate(given):
        name, equals, text = argument.partition("=")
        if name == option:
            found = text if equals else "".join(given[number + 1 : number + 2])
    return found


def printable(text: str) -> str:
    """Return a text that no terminal takes for commands, and that any stream can write."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


if __name__ == "__main__":
    main(sys.argv[1:])
