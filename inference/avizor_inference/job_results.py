"""Name what a batch job leaves in its folder, for those who write it and those who read it: the job, calibration, the pages."""

from __future__ import annotations

# What the rows were computed with.
JOB_FILE = "job.json"

# What sums up a finished job. It is made anew at the end of each run, and absent while a job runs.
SUMMARY_FILE = "summary.json"

# The records of the parts that count.
COMMITS = "commits"

# What each run has planned.
ROUNDS = "rounds"

# Version of the rows and their meaning. A job with another version cannot be resumed.
ROWS_FORMAT = 7
