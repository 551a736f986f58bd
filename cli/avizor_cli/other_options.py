"""Say of an option that a command has not what it is called there: commands have different names for the same."""

from __future__ import annotations

import click

# What a user may know from another command -> what the address of a gateway is called by those that call one.
_ADDRESS = ("--target", "--gateway")
_OF_AN_ADDRESS = frozenset([*_ADDRESS, "--engine", "--host", "--port"])

# Options that name a model, where another command takes its name alone.
_OF_A_MODEL = frozenset(["--model", "--name"])

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
    if option in _OF_A_MODEL and "MODEL" in arguments:
        return click.NoSuchOption(option, f"No such option {option!r}: here the name of the model stands alone.", ctx=context)
    if option == "--out" and arguments & _RESULTS:
        return click.NoSuchOption(
            option, f"No such option {option!r}: here the folder of the results stands alone.", ctx=context
        )
    if "OUT" in arguments and option in _options_of_batch(context):
        kept = "it is an option of `avizor batch`, and the job in OUT keeps what it was given."
        return click.NoSuchOption(option, f"No such option {option!r} here; {kept}", ctx=context)
    group = command if isinstance(command, click.Group) else click.Group()
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        if there := [each for each in (option, *wanted) if inner and each in _options(inner)]:
            where = f"it is an option of its commands, as in `{context.command_path} {name} {there[0]} ...`."
            is_other = "" if there[0] == option else f"{there[0]!r} is meant, and "
            return click.NoSuchOption(option, f"No such option {option!r} here; {is_other}{where}", ctx=context)
    if not option.startswith("--h"):  # click takes --help for a likely one of --alpha and --model
        return click.NoSuchOption(
            option, possibilities=[each for each in error.possibilities or () if each != "--help"], ctx=context
        )
    return error


def _options_of_batch(context: click.Context) -> list[str]:
    group = context.parent.command if context.parent else None
    batch = group.get_command(context, "batch") if isinstance(group, click.Group) else None
    return _options(batch) if batch else []


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
