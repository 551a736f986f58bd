"""Data, networks and programs that several suites share."""
