"""Runners work off the shards of a job: in processes of this machine."""
