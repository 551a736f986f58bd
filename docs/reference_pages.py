"""The pages of docs/reference/, written from the code: `make reference`. With --check: fail if a page is out of date."""

from __future__ import annotations

import argparse
import copy
import inspect
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from google.protobuf.any_pb2 import Any
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from prometheus_client import Metric, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from avizor_cli.main import avizor
from avizor_inference import errors
from avizor_inference.job_tables import MEANINGS, PROJECTION, Q_VALUES, REGIONS, TABLES
from avizor_pipeline.reporting.metrics import batch_metrics
from avizor_pipeline.reporting.watch_metrics import watch_metrics
from avizor_service.http.answers import http_code
from avizor_service.metrics import Metrics, WorkerMetrics
from avizor_service.status import status_of

FOLDER = Path(__file__).parent / "reference"
COLUMNS = 110  # of help texts

NOTE = "<!-- Generated from the code by `make reference`; change the code, not this page. -->"

CLI = """\
# Command line

What `avizor --help` and the help of each command print. Exit codes are in [errors.md](errors.md#exit-codes)."""

TABLES_OF_A_JOB = """\
# Parquet tables

`avizor batch` writes these tables as folders of Parquet files below `--out`. Read a whole folder: each file holds the rows of
one shard. A column that does not apply to a row is null: `score` of a classifier, `label` of an autoencoder."""

ROWS = {
    "windows": "One row for each window of each recording and each model.",
    "recordings": "One row for each recording and each model.",
    "dead_letters": "One row for each file that could not be read.",
    "projection": "Of `avizor project`: a file for each model and method. One row for each window in the map, in the order of "
    "`windows/`; join it on the first four columns.",
    "q_values": "With `--q-values`. One row for each recording that has a p-value; join it on `uri` and `model`.",
    "regions": "With `--tables regions`. One row for each stretch of a recording's channel in which windows are flagged; those "
    "that overlap or touch are one. Recordings without a flagged window have none.",
}

METRICS = """\
# Metrics

Prometheus metrics. A counter is exposed with the suffix `_total`, a histogram with `_bucket`, `_count` and `_sum`.
Alerts on them are in [monitoring/](../../monitoring/README.md); what to do about an alert is in
[operations.md](../operations.md#alerts-and-what-to-do-first)."""

ERRORS = """\
# Errors

Every error that Avizor raises on purpose is a class of `avizor_inference.errors`.
Its message says what is wrong and what to do.

A command that ends with one of them prints `Error: ` and the message on stderr, and exits with 1.
The gateway answers with the status code of the last column; [below](#codes-of-the-gateway) is what each code means to a caller.

| class | meaning | what to do | gRPC status code |
|---|---|---|---|"""

CODES = """\

## Codes of the gateway

Codes of gRPC, and those of HTTP in their place. Each answer has a request id (`x-request-id`), and the gateway's log has a line
with it. One item that fails has such a code too, and the others of its call are answered.

| gRPC | HTTP | when | what to do |
|---|---|---|---|"""

# Of each code that a caller may meet: when, and what to do.
CODE_ROWS = {
    Code.INVALID_ARGUMENT: (
        "a part of the request, or an item, is wrong. Over HTTP also a request that is no HTTP",
        "change what `BadRequest` in the details names: `items[3].tensor`. To try again would not help",
    ),
    Code.UNAUTHENTICATED: (
        "there is no token, it is not in the file of the gateway or its front door, or it was taken out",
        "send `authorization: Bearer TOKEN`; ask whoever runs the gateway for one ([security.md](../security.md))",
    ),
    Code.PERMISSION_DENIED: (
        "the token may not ask for this model; over HTTP also a web page, or a `Host`, that may not call",
        "ask for another model, or for a longer `models=`; for a web page `--cors-origin`, for a name `--http-name`",
    ),
    Code.NOT_FOUND: (
        "there is no such model or version",
        "`avizor call models` shows what there is, and why a version is not served",
    ),
    Code.FAILED_PRECONDITION: (
        "the model cannot do this: no calibration, a version that is refused, a map that it does not have",
        "run what the message names, such as `avizor calibrate`; the request itself is right",
    ),
    Code.RESOURCE_EXHAUSTED: (
        "the gateway is full, or the token's `rate=` is used up. Without a retry delay (HTTP 413): the message is too large",
        "wait for the retry delay, and try again. Too large: send fewer items. If it is often so: [limits.md](../limits.md)",
    ),
    Code.UNAVAILABLE: (
        "the gateway stops or is not there, its engine is away, or a version is not loaded any more",
        "try again after the retry delay. If it lasts: `avizor health`, then the gateway's log, then Triton's",
    ),
    Code.DEADLINE_EXCEEDED: (
        "the answer is not there in the time that the caller gave, or would not be",
        "give more time, or send less. If small requests meet it: [limits.md](../limits.md)",
    ),
    Code.UNIMPLEMENTED: (
        "there is no such RPC, path (404) or method (405), or it is turned off (`--no-open-inference`)",
        "see [grpc.md](../grpc.md), [http.md](../http.md) for what there is; look at the address",
    ),
    Code.CANCELLED: (
        "the caller has left, or its connection was lost",
        "nothing; if the caller did not mean it, see `--send-timeout-s` and the timeouts of what is between",
    ),
    Code.INTERNAL: (
        "an error that no call should meet",
        "give the request id to whoever runs the gateway: its log has the reason under that id. Report it",
    ),
    Code.UNKNOWN: (
        "a proxy or another program has answered, and no gateway",
        "look at the address, and at the log of what is between",
    ),
}

EXIT_CODES = """\

## Exit codes

| exit code | meaning |
|---:|---|
| 0 | done. Of `avizor batch`: all rows are there. Of `avizor watch`: all that was begun has its rows, also after a signal |
| 1 | failed: one of the errors above, or a problem of the system; `avizor models`, `health` and `doctor`: not all is well |
| 2 | wrong usage: an unknown option, or a value that an option does not take |
| 3 | `avizor batch` or `avizor watch` finished, with dead letters; `avizor call`: some items could not be answered |
| 4 | `avizor call --exit-code`: an anomaly was found, or there was an alarm |
| 5 | `avizor fit --improve` has published nothing: the next version would be no better, or support a larger alpha only |
| 129 | stopped by SIGHUP |
| 130 | stopped by Ctrl-C (SIGINT) |
| 143 | stopped by SIGTERM. `avizor serve` stops cleanly on SIGTERM and Ctrl-C, with 0 |"""


def cli_page() -> Iterator[str]:
    """The help of every command, those of components found by their entry points."""
    yield CLI
    for path, command, context in _commands(avizor, "avizor", None):
        yield f"\n## {path}\n\n```text\n{_help(command, context)}\n```"


def _help(command: click.Command, context: click.Context) -> str:
    # click keeps a command's option --help as it was first shown: as `--help`, or as part of `avizor` as `-h, --help`.
    fresh = copy.copy(command)
    fresh._help_option = None
    return fresh.get_help(context).rstrip()


def _commands(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    settings = {**command.context_settings, "terminal_width": COLUMNS, "max_content_width": COLUMNS}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            assert child is not None
            yield from _commands(child, child_name, context)


def parquet_page() -> Iterator[str]:
    """The columns of every table that a batch job writes."""
    yield TABLES_OF_A_JOB
    for table, schema in {**TABLES, "projection": PROJECTION, "q_values": Q_VALUES, "regions": REGIONS}.items():
        place = f"{table}.parquet" if table in ("q_values", "regions") else f"{table}/"
        yield f"\n## `{place}`\n\n{ROWS[table]}\n\n| column | type | meaning |\n|---|---|---|"
        for column in schema:
            yield f"| `{column.name}` | `{_readable(str(column.type))}` | {MEANINGS[table][column.name]} |"


def _readable(type_: str) -> str:
    """The name of a type as numpy and DuckDB users know it, without the names of its inner fields."""
    plain = re.sub(r"<(element|item): ", "<", type_)
    return re.sub(r"\bfloat\b", "float32", plain).replace("double", "float64")


def metrics_page() -> Iterator[str]:
    """Every metric of the gateway and of a batch job."""
    yield METRICS
    of_gateway = "`avizor serve` serves them at `http://HOST:9464/metrics` (`--metrics-port`)."
    of_batch = "`avizor batch` serves them with `--metrics-port`, and pushes them with `--pushgateway`."
    of_service = [each for each in (vars(Metrics()) | vars(WorkerMetrics())).values() if isinstance(each, MetricWrapperBase)]
    of_watch = "`avizor watch` serves these and those of a batch job with `--metrics-port`."
    rooms = (
        ("Gateway", of_gateway, of_service),
        ("Batch job", of_batch, batch_metrics()),
        ("Live job", of_watch, watch_metrics()),
    )
    for title, where, metrics in rooms:
        yield f"\n## {title}\n\n{where}\n\n| metric | type | labels | meaning |\n|---|---|---|---|"
        for metric in metrics:
            yield from (_metric_row(family, metric._labelnames) for family in metric.describe())
        if metrics is of_service:  # on Linux
            yield from map(_metric_row, ProcessCollector(registry=None).collect())


def _metric_row(family: Metric, label_names: Sequence[str] = ()) -> str:
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in label_names)
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


def errors_page() -> Iterator[str]:
    """The tree of errors, the codes of the gateway, and the exit codes, each with what to do."""
    yield ERRORS
    yield from _error_rows(errors.AvizorError, 0)
    yield CODES
    for code, (when, remedy) in CODE_ROWS.items():
        yield f"| {Code.Name(code)} | {http_code(Status(code=code, details=_details(code)))} | {when} | {remedy} |"
    yield EXIT_CODES


def _details(code: int) -> list[Any]:
    """Return the details by which a status of this code is told from others of it: a retry delay."""
    packed = Any()
    packed.Pack(RetryInfo())
    return [packed] if code == Code.RESOURCE_EXHAUSTED else []


def _error_rows(kind: type[errors.AvizorError], depth: int) -> Iterator[str]:
    indent = "&nbsp;&nbsp;" * depth
    meaning, _, remedy = inspect.cleandoc(kind.__doc__ or "").partition("\n\nTo do: ")
    linked = re.sub(r"docs/([a-z-]+\.md)", r"[\1](../\1)", remedy.strip())
    yield f"| {indent}`{kind.__name__}` | {meaning} | {linked} | {_status_code(kind)} |"
    for child in kind.__subclasses__():  # in the order of the file
        if child.__module__ == errors.__name__:
            yield from _error_rows(child, depth + 1)


def _status_code(kind: type[errors.AvizorError]) -> str:
    logging.disable()  # an error that is not in the gateway's table is logged with its trace
    try:
        return str(Code.Name(status_of(kind("")).code))
    finally:
        logging.disable(logging.NOTSET)


PAGES = {"cli.md": cli_page, "parquet-tables.md": parquet_page, "metrics.md": metrics_page, "errors.md": errors_page}


def texts() -> dict[str, str]:
    """Return the text of each page by the name of its file."""
    return {name: "\n".join([NOTE, "", *page()]) + "\n" for name, page in PAGES.items()}


def outdated() -> list[str]:
    """Return the names of the files in docs/reference/ that are not what the code says, missing and surplus ones included."""
    expected = texts()
    actual = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    return sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Write nothing; exit with 1 if a page is out of date.")
    if parser.parse_args().check:
        if names := outdated():
            sys.exit(f"docs/reference: {', '.join(names)} out of date; run `make reference`")
        return
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
