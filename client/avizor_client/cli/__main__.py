"""Run `avizor call` where the command `avizor` is not installed: python -m avizor_client.cli."""

import os
import sys

from avizor_client.cli import call

# gRPC writes lines of its own to standard error. What matters of them is raised as an error. It looks at this variable when it
# is imported, which has happened by now.
if os.name == "posix" and "GRPC_VERBOSITY" not in os.environ:
    os.environ["GRPC_VERBOSITY"] = "NONE"
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # this command again
call(prog_name="avizor call")
