"""Keep what the gateway flags, so that people can look at it: in the format of a job's results, bounded in bytes and age."""
