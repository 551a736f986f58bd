"""Runners process the shards of a job: in processes of this machine."""
