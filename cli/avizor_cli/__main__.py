"""Begin `avizor`, also as `python -m avizor_cli`, and say what to install where it cannot begin."""

from __future__ import annotations

import sys

from avizor_cli.always_needed import module_of, requirement_of


def main() -> None:
    """Run the command. See avizor_cli.main."""
    try:
        from avizor_cli.main import main as run
    except ImportError as error:
        package, dot, _ = module_of(error).partition(".")
        if package.startswith("avizor"):
            raise
        is_missing = isinstance(error, ModuleNotFoundError) and not dot
        what = "is not installed" if is_missing else f"cannot be loaded ({error})"
        again = "" if is_missing else "--force-reinstall "
        sys.exit(f"Error: `avizor` needs {package}, which {what}; pip install {again}'{requirement_of(package)}'")
    run()


if __name__ == "__main__":
    main()
