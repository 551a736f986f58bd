"""What tests of several suites share: data, networks, and the programs that tests start."""
