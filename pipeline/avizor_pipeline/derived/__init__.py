"""Files that are made from the tables of a finished job, each by one rename. The tables themselves are not changed."""
