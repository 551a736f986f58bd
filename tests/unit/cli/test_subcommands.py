"""subcommands.py: commands are found by entry points and loaded when they are called. Tests are fresh processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support.normal_folders import write_rows
from support.small_models import export_lookup

from avizor_cli.subcommands import GROUP, SubCommands
from avizor_cli.summaries import SUMMARIES

WITHOUT = "import sys; sys.modules[{module!r}] = None; from avizor_cli.main import main; sys.argv = sys.argv[1:]; main()"
PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
LOADED = """
import sys
import click
from avizor_cli.subcommands import SubCommands
group = SubCommands("avizor")
assert "models" in group.list_commands(click.Context(group))
assert not any(name.startswith(("avizor_pipeline", "avizor_service", "avizor_export", "torch")) for name in sys.modules)
command = group.get_command(click.Context(group), "models")
print(command.name, group.get_command(click.Context(group), "made-up"), "torch" in sys.modules)
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("serve", "uvloop", "gateway"),
        ("batch", "pyarrow", "jobs"),
        ("export", "torch", "networks"),
        ("call", "google.rpc", "client"),
    ],
)
def test_a_command_whose_extra_is_missing_says_what_to_install(command: str, module: str, extra: str) -> None:
    without = WITHOUT.format(module=module)
    called = python(without, "avizor", command, "--any-option", "x")
    assert (called.returncode, called.stdout) == (1, "")
    assert f"`avizor {command}` needs {module}, which is not installed; pip install 'avizor[{extra}]'" in called.stderr
    helped = python(without, "avizor", command, "--help")
    assert helped.returncode == 0
    assert f"pip install 'avizor[{extra}]'" in " ".join(helped.stdout.split())


def test_a_client_without_its_messages_is_listed_as_not_installed() -> None:
    listed = python(WITHOUT.format(module="google.rpc"), "avizor", "--help").stdout
    assert "call        Not installed: needs avizor[client]." in listed


WITHOUT_ENGINE = ["serve", "report", "review", "verify", "neighbours", "project", "batch", "watch", "retry"]
ON_ANOTHER = ["models", "models check", "models load", "models rollback", "calibrate", "explain"]
ON_ANOTHER += [f"explain {kind}" for kind in ("cam", "occlusion", "error-map", "filters", "latent")]

# One process for all: each command loads most of what the others do, and finds what they have loaded.
HELP_OF_ALL = """
import contextlib, io, json, sys
sys.modules["onnxruntime"] = None
from avizor_cli.main import main
said = {}
for command in sys.argv[1:]:
    sys.argv = ["avizor", *command.split(), "--help"]
    out, errors, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as end:
            code = end.code
    said[command] = [code, out.getvalue(), errors.getvalue()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def helped() -> dict[str, tuple[int, str, str]]:
    """The exit code, the output and the errors of each command that is asked for its help where no engine is installed."""
    done = python(HELP_OF_ALL, *WITHOUT_ENGINE, *ON_ANOTHER)
    assert (done.returncode, done.stderr) == (0, "")
    return {command: tuple(said) for command, said in json.loads(done.stdout).items()}


@pytest.mark.parametrize("command", WITHOUT_ENGINE)
def test_what_needs_no_engine_is_loaded_without_one(command: str, helped: dict[str, tuple[int, str, str]]) -> None:
    is_loaded_without_an_engine(command, helped)


@pytest.mark.parametrize("command", ON_ANOTHER)
def test_what_a_gateway_or_a_triton_may_compute_is_loaded_without_an_engine(
    command: str, helped: dict[str, tuple[int, str, str]]
) -> None:
    is_loaded_without_an_engine(command, helped)


def is_loaded_without_an_engine(command: str, helped: dict[str, tuple[int, str, str]]) -> None:
    code, said, errors = helped[command]
    assert (code, errors) == (0, "")
    assert said.startswith(f"Usage: avizor {command} ")
    assert "which is not installed" not in " ".join(said.split())


def test_without_an_engine_the_extra_that_brings_one_is_named() -> None:
    code = WITHOUT.format(module="uvloop").replace("import sys;", "import sys; sys.modules['onnxruntime'] = None;", 1)
    assert "pip install 'avizor[service]'" in python(code, "avizor", "serve").stderr


def test_an_engine_that_is_not_installed_is_refused_in_one_line(tmp_path: Path) -> None:
    served = python(WITHOUT.format(module="onnxruntime"), "avizor", "serve", "--models", str(tmp_path), "--port", "0")
    assert served.returncode == 1
    assert served.stderr == (
        "Error: the engine ort needs onnxruntime, which is not installed here; pip install 'avizor[inference-cpu]', or "
        "'avizor[inference]' on a machine with a GPU\n"
    )


@pytest.mark.parametrize("command", ["export", "fit"])
def test_what_computes_by_itself_says_before_it_begins_that_no_engine_is_installed(command: str, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv", 60)
    words = {"export": [rows, "--task", "reconstruct", "--name", "rows"], "fit": [rows, "--name", "rows", "--dry-run"]}[command]
    failed = python(WITHOUT.format(module="onnxruntime"), "avizor", command, *map(str, words))
    assert failed.returncode == 1
    assert f"Error: `avizor {command}` needs onnxruntime, which is not installed here; pip install " in failed.stderr


def test_an_extra_that_messages_name_brings_no_second_engine() -> None:
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    for extra in (
        "av",
        "gateway",
        "jobs",
        "keep",
        "networks",
        "object-stores",
        "openvino",
        "pages",
        "pictures",
        "projection",
        "ray",
        "tracing",
    ):
        assert not any(each.startswith(("onnxruntime", "avizor[")) for each in extras[extra]), extra


def test_a_calibration_from_a_review_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    export_lookup(tmp_path / "models")
    command = ["calibrate", "lookup", "--models", str(tmp_path / "models"), "--from-review", str(tmp_path)]
    failed = python(WITHOUT.format(module="pyarrow"), "avizor", *command)
    assert failed.returncode == 1
    assert failed.stderr == (
        "Error: --from-review reads tables with pyarrow, which is not installed; pip install 'avizor[jobs]'\n"
    )


def test_a_command_is_loaded_alone_and_an_unknown_one_is_none() -> None:
    result = python(LOADED)
    assert (result.stdout, result.stderr) == ("models None False\n", "")


@pytest.mark.parametrize(("typed", "meant"), [("fti", " Did you mean 'fit'?"), ("bacth", " Did you mean 'batch'?"), ("x", "")])
def test_a_misspelt_command_is_answered_with_the_one_that_is_meant(typed: str, meant: str) -> None:
    result = CliRunner().invoke(SubCommands("avizor"), [typed])
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == f"Error: No such command {typed!r}.{meant}"


def test_the_list_of_commands_loads_none_of_them_and_says_what_each_says_of_itself() -> None:
    code = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); from avizor_cli.main import main; main()"
    )
    listed = python(code, "--help").stdout
    assert listed.splitlines()[-1] == "False"
    assert "Not installed" not in listed
    group = SubCommands("avizor")
    context = click.Context(group)
    assert list(SUMMARIES) == group.list_commands(context)
    for name, summary in SUMMARIES.items():
        command = group.get_command(context, name)
        assert command is not None
        assert command.short_help == summary
        assert f"  {name}  " in listed
        assert summary[:20] in listed


def test_a_command_whose_extra_is_missing_is_listed_with_it() -> None:
    listed = python(WITHOUT.format(module="torch"), "avizor", "--help").stdout
    assert listed.count("Not installed: needs avizor[networks].") == sum("_export" in entry for entry in entries()) - 1  # tune


@pytest.mark.parametrize("arguments", [["call"], ["call", "--help"], ["call", "detect", "--help"]])
def test_a_group_whose_extra_is_missing_says_so_before_it_loads_its_sub_commands(arguments: list[str]) -> None:
    called = python(WITHOUT.format(module="google.rpc"), "avizor", *arguments)
    assert "Traceback" not in called.stderr
    assert "pip install 'avizor[client]'" in " ".join((called.stdout + called.stderr).split())


def entries() -> list[str]:
    return [entry.value for entry in entry_points(group=GROUP)]


def test_no_command_is_missing_where_pandas_is_left_out() -> None:
    code = """
import sys
from importlib.metadata import entry_points
from pathlib import Path
from avizor_inference.no_pandas import leave_out_pandas
leave_out_pandas()
for entry in entry_points(group="avizor.commands"):
    entry.load()
"""
    assert python(code).stderr == ""


def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    result = python("from avizor_cli.main import main; import sys; sys.argv = ['avizor', 'made-up']; main()")
    assert result.returncode == 2
    assert "No such command 'made-up'" in result.stderr


@pytest.mark.parametrize(("command", "found"), [("models", False), ("batch", False), ("describe", True), ("export", True)])
def test_pandas_is_found_only_where_code_of_users_may_run(command: str, found: bool) -> None:
    pytest.importorskip("pandas")
    code = """
import atexit, concurrent.futures.thread, importlib, sys
from avizor_cli.main import main
@atexit.register
def look():
    try:
        print("found", importlib.import_module("pandas").__name__)
    except ModuleNotFoundError as error:
        print("not found", error.name)
main()
"""
    assert python(code, command, "--help").stdout.splitlines()[-1] == ("found pandas" if found else "not found pandas")


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        (["batch", ""], "batch"),
        (["models", "--models", ""], "--models"),
        (["verify", "--out="], "--out"),
        (["call", "--address", "localhost:1", "classify", "m", ""], "m"),
        ([""], "avizor"),
    ],
)
def test_an_argument_without_text_is_wrong_usage_of_every_command(arguments: list[str], after: str) -> None:
    result = CliRunner().invoke(SubCommands("avizor"), arguments)
    assert result.exit_code == 2
    assert f"what comes after '{after}' is empty" in result.output


def test_a_value_with_equal_signs_at_its_end_is_none_without_text() -> None:
    result = CliRunner().invoke(SubCommands("avizor"), ["batch", "--help", "--push-job=a=="])
    assert result.exit_code == 0


IN_COMMANDS = "it is an option of its commands, as in `avizor call classify --target ...`."

IN_OTHERS = "it is an option of `avizor batch`, `avizor calibrate`, `avizor export`"

ALIKE = "(Did you mean one of: '--bytes-column', '--path-column', '--source-column'?)"

IN_BATCH = "it is an option of `avizor batch`, and the job in OUT keeps what it was given."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("call detect --gateway a:1 fan x.wav", "No such option '--gateway'. Did you mean '--target'?"),
        ("call models --engine triton://a:1", "No such option '--engine'. Did you mean '--target'?"),
        ("health --gateway a:1", "No such option '--gateway'. Did you mean '--target'?"),
        ("explain cam --target a:1 kinds x.wav", "No such option '--target'. Did you mean '--gateway'?"),
        ("models load --target a:1 fan", "No such option '--target'. Did you mean '--gateway'?"),
        (
            "call --gateway a:1 detect fan x.wav",
            f"No such option '--gateway' here; '--target' is meant, and {IN_COMMANDS}",
        ),
        (
            "call --target a:1 models",
            f"No such option '--target' here; {IN_COMMANDS}",
        ),
        ("call detect --model fan x.wav", "No such option '--model': here the name of the model stands alone."),
        ("call detect fan x.wav --targt a:1", "No such option '--targt'. Did you mean '--target'?"),
        ("call --no-such-thing", "No such option '--no-such-thing'."),
        ("retry --out results", "No such option '--out': here the folder of the results stands alone."),
        ("neighbours --out results x.wav", "No such option '--out': here the folder of the results stands alone."),
        ("retry results --alpha 0.1", f"No such option '--alpha' here; {IN_BATCH}"),
        ("retry results --models models", f"No such option '--models' here; {IN_BATCH}"),
        ("verify results --models=models", f"No such option '--models' here; {IN_BATCH}"),
        ("verify results --no-such-thing", "No such option '--no-such-thing'."),
        ("serve --model fan", "No such option '--model'. Did you mean '--models'?"),
        ("batch data --weights w.pt", "No such option '--weights' here; it is an option of `avizor export`, `avizor fit`."),
        (
            "watch in --dry-run",
            "No such option '--dry-run' here; it is an option of `avizor batch`, `avizor fit`, `avizor tune`.",
        ),
        ("serve --dry-run", "No such option '--dry-run' here; `avizor models check` looks at what would be served."),
        ("doctor --models models", "No such option '--models' here; `avizor models check` looks at the files of models."),
        ("fit in --engine ort", "No such option '--engine' here; `avizor calibrate` makes a calibration for another engine."),
        ("watch in --limit 3", f"No such option '--limit' here; {IN_OTHERS} and 1 more."),
        ("batch data --columns a", f"No such option '--columns' here; it is an option of `avizor describe`. {ALIKE}"),
        (
            "call monitor fan - --runner ray",
            "No such option '--runner' here; it is an option of `avizor batch`, `avizor retry`.",
        ),
        ("batch --data pictures", "No such option '--data': here the data stands alone, as DATASET."),
        ("export net.pt --out models", "No such option '--out'. Did you mean '--models'?"),
        ("models load --model fan", "No such option '--model': here the name of the model stands alone."),
        ("retry results --alph 0.1", "No such option '--alph'."),
        ("retry results --hlp", "No such option '--hlp'. Did you mean '--help'?"),
    ],
)
def test_an_option_of_another_command_is_told_with_what_it_is_called_here(words: str, said: str) -> None:
    result = CliRunner().invoke(SubCommands("avizor"), words.split())
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == f"Error: {said}"


def test_where_a_target_is_no_gateway_it_is_not_named() -> None:
    result = CliRunner().invoke(SubCommands("avizor"), ["export", "--gateway", "a:1"])
    assert "--target" not in result.output.splitlines()[-1]


BROKEN = {
    "click": "raise ImportError('cannot import name _winconsole')",
    "lazy_loader": "from lazy_loader.part import nothing",
}


@pytest.mark.parametrize(
    ("package", "needed"), [("click", "click>=8.1"), ("lazy_loader", "lazy-loader>=0.4"), ("packaging", "packaging>=23")]
)
def test_without_a_package_that_is_always_needed_it_is_named_with_what_to_install(
    package: str, needed: str, tmp_path: Path
) -> None:
    begin = f"import sys; sys.modules[{package!r}] = None; from avizor_cli.__main__ import main; main()"
    without = python(begin, "doctor")
    assert re.fullmatch(
        rf"Error: `avizor\S*( doctor`)? needs {package}\S*, which is not installed; pip install '{needed}'\n", without.stderr
    )
    assert without.returncode == 1
    if package in BROKEN:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(BROKEN[package])
        broken = python(
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from avizor_cli.__main__ import main; main()", "doctor"
        )
        assert broken.returncode == 1
        assert broken.stderr.startswith(f"Error: `avizor` needs {package}, which cannot be loaded (")
        assert broken.stderr.endswith(f"; pip install --force-reinstall '{needed}'\n")


@pytest.mark.parametrize(("package", "words"), [("pyarrow", ["verify", "results"]), ("grpc", ["health"])])
def test_a_package_of_a_command_that_is_here_and_broken_is_one_line(package: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise ImportError('libfoo.so.3: cannot open shared object file')")
    begin = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from avizor_cli.__main__ import main; main()"
    broken = python(begin, *words)
    why = "(libfoo.so.3: cannot open shared object file)"
    assert broken.stderr == f"Error: {package} cannot be loaded {why}; `avizor doctor` says what to install\n"
    assert broken.returncode == 1


def test_the_command_begins_where_a_missing_package_is_named() -> None:
    assert tomllib.loads(PYPROJECT.read_text())["project"]["scripts"] == {"avizor": "avizor_cli.__main__:main"}
