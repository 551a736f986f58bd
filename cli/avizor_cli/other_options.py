"""Say of an option that a command has not what it is called there: commands have different names for the same."""

from __future__ import annotations

from collections.abc import Iterator

import click

from avizor_inference.error_text import named

# What a user may know from another command -> what the address of a gateway is called by those that call one.
_ADDRESS = ("--target", "--gateway")
_OF_AN_ADDRESS = frozenset([*_ADDRESS, "--engine", "--host", "--port"])

# Options that name a model, where another command takes its name alone.
_OF_A_MODEL = frozenset(["--model", "--name"])

# Command and option -> which other command does what is wanted.
_INSTEAD = {
    ("doctor", "--models"): "`avizor models check` looks at the files of models",
    ("fit", "--engine"): "`avizor calibrate` makes a calibration for another engine",
    ("export", "--engine"): "'--verify-with' compares with a Triton",
    ("serve", "--dry-run"): "`avizor models check` looks at what would be served",
}

# Arguments that are names of models, and those that are data.
_MODELS = frozenset(["MODEL", "NAME", "NAMES"])
_DATA = frozenset(["DATASET...", "DIR...|-", "FILE", "FILES", "FOLDER", "ITEM", "ITEM..."])

# Arguments that are the folder that was the --out of a job.
_RESULTS = frozenset(["OUT", "RESULTS"])


def with_other(error: click.NoSuchOption) -> click.NoSuchOption:
    """Return the error with the option that is meant, its place after the command of a group, or that there is an argument."""
    option, context = error.option_name, error.ctx
    if context is None:
        return error
    command = context.command
    wanted = _ADDRESS if option in _OF_AN_ADDRESS else ()
    if there := [each for each in wanted if each in _options(command)]:
        return click.NoSuchOption(option, f"No such option {option!r}. Did you mean {there[0]!r}?", ctx=context)
    arguments = {each.human_readable_name for each in _arguments(command)}
    if option in _OF_A_MODEL and arguments & _MODELS:
        return click.NoSuchOption(option, f"No such option {option!r}: here the name of the model stands alone.", ctx=context)
    if option == "--data" and (data := arguments & _DATA):
        name = data.pop().partition(".")[0]
        return click.NoSuchOption(option, f"No such option {option!r}: here the data stands alone, as {name}.", ctx=context)
    if option == "--out" and {"--models", "--name"} <= {*_options(command)}:
        return click.NoSuchOption(option, f"No such option {option!r}. Did you mean '--models'?", ctx=context)
    if option == "--out" and arguments & _RESULTS:
        return click.NoSuchOption(
            option, f"No such option {option!r}: here the folder of the results stands alone.", ctx=context
        )
    if "OUT" in arguments and option in _options_of_batch(context):
        kept = "it is an option of `avizor batch`, and the job in OUT keeps what it was given."
        return click.NoSuchOption(option, f"No such option {option!r} here; {kept}", ctx=context)
    if instead := _INSTEAD.get((command.name or "", option)):
        return click.NoSuchOption(option, f"No such option {option!r} here; {instead}.", ctx=context)
    group = command if isinstance(command, click.Group) else click.Group()
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        if there := [each for each in (option, *wanted) if inner and each in _options(inner)]:
            where = f"it is an option of its commands, as in `{context.command_path} {name} {there[0]} ...`."
            is_other = "" if there[0] == option else f"{there[0]!r} is meant, and "
            return click.NoSuchOption(option, f"No such option {option!r} here; {is_other}{where}", ctx=context)
    guesses = [each for each in error.possibilities or () if each != "--help" or option.startswith("--h")]
    if same := [each for each in guesses if _words(each) == _words(option)]:
        return click.NoSuchOption(option, possibilities=same, ctx=context)
    if not (others := list(_others(context.find_root().command, option, context))):
        return click.NoSuchOption(option, possibilities=guesses, ctx=context)
    near = [each for each in guesses if _words(each) & _words(option)]
    where = named([f"`avizor {each}`" for each in others])
    return click.NoSuchOption(option, f"No such option {option!r} here; it is an option of {where}.", near, context)


def _options_of_batch(context: click.Context) -> list[str]:
    group = context.parent.command if context.parent else None
    batch = group.get_command(context, "batch") if isinstance(group, click.Group) else None
    return _options(batch) if batch else []


def _others(command: click.Command, option: str, context: click.Context, path: str = "") -> Iterator[str]:
    """Yield which commands below this one have an option: what comes after `avizor`."""
    group = command if isinstance(command, click.Group) else click.Group()
    for name in group.list_commands(context):
        inner, place = group.get_command(context, name), f"{path}{name}"
        if inner and option in _options(inner):
            yield place
        elif inner:
            yield from _others(inner, option, context, f"{place} ")


def _words(option: str) -> set[str]:
    """Return by what two options are alike: the words of a name, without the `s` of a plural or of seconds."""
    return {each.rstrip("s") for each in option.strip("-").split("-")} - {"", "max"}


def _options(command: click.Command) -> list[str]:
    """Return the options of a command; of those of an address the ones that take a gateway's."""
    options = [each for each in command.params if isinstance(each, click.Option)]
    return [
        name
        for each in options
        for name in each.opts
        if name not in _ADDRESS or each.metavar == "HOST:PORT"  # `avizor export --target` takes a kind of machine
    ]


def _arguments(command: click.Command) -> list[click.Argument]:
    return [each for each in command.params if isinstance(each, click.Argument)]
