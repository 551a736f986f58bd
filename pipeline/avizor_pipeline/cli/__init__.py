"""Define `avizor batch` and the exit codes of a job."""
