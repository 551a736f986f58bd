"""Run `avizor call` where the command `avizor` is not installed: python -m avizor_client.cli."""

from avizor_client.cli import call

call(prog_name="avizor call")
