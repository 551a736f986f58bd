"""Data, networks and programs that several suites share."""

import os

# As the command itself does (docs/decisions/0027): threads of torch that wait sleep instead of spinning, which costs the tests
# beside them more than the computation itself. Heard only before torch is imported, and every suite imports this package first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
