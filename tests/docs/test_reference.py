"""docs/reference/: the pages agree with the code, and nothing public is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from google.rpc.code_pb2 import Code
from reference_pages import FOLDER, outdated

import avizor_service
from avizor_cli.main import avizor
from avizor_inference import errors
from avizor_inference.job_tables import MEANINGS, TABLES
from avizor_pipeline.reporting.metrics import metric_names as batch_metric_names
from avizor_pipeline.reporting.watch_metrics import metric_names as watch_metric_names
from avizor_service.metrics import metric_names as gateway_metric_names


def page(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def test_the_pages_are_up_to_date() -> None:
    assert outdated() == [], "run `make reference`"


def test_a_page_that_nobody_generates_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.md").write_text("left over")
    monkeypatch.setattr("reference_pages.FOLDER", tmp_path)
    assert outdated() == ["cli.md", "errors.md", "metrics.md", "old.md", "parquet-tables.md"]


@pytest.mark.parametrize("table", TABLES)
def test_every_column_has_a_meaning(table: str) -> None:
    assert list(MEANINGS[table]) == TABLES[table].names


def test_meanings_are_not_written_into_the_files() -> None:
    for schema in TABLES.values():
        assert schema.metadata is None
        assert [field.metadata for field in schema] == [None] * len(schema)


def test_every_command_and_option_is_shown() -> None:
    context = click.Context(avizor)
    for name, command in commands(avizor, context):
        section = page("cli.md").partition(f"\n## avizor {name}\n")[2].partition("\n## ")[0]
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert options or isinstance(command, click.Group)
        assert section
        assert [option for option in options if option not in section] == []


def commands(group: click.Group, context: click.Context, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each command below a group, `explain occlusion` among them, with its whole name."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, context, f"{before}{name} ")


def test_every_metric_is_shown() -> None:
    names = gateway_metric_names() | batch_metric_names() | watch_metric_names()
    assert [name for name in sorted(names) if f"| `{name}` |" not in page("metrics.md")] == []


def test_every_error_is_shown_with_what_to_do_and_a_status_code() -> None:
    shown = re.findall(r"^\| (?:&nbsp;)*`(\w+)` \| [A-Z].*\. \| \S.*\. \| [A-Z_]+ \|$", page("errors.md"), re.MULTILINE)
    assert shown == [name for name, kind in vars(errors).items() if isinstance(kind, type)]


def test_every_code_of_the_gateway_is_shown_with_what_to_do() -> None:
    section = page("errors.md").partition("\n## Codes of the gateway\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| ([A-Z_]+) \| \d{3} \| \w.* \| \S.* \|$", section, re.MULTILINE)
    service = Path(avizor_service.__file__).parent
    named = {
        name for path in service.rglob("*.py") for name in re.findall(r"\b(?:Status)?Code\.([A-Z_]+)", path.read_text("utf-8"))
    }
    assert set(shown) == named & set(Code.keys()) - {"OK"}
