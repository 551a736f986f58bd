"""`avizor batch` and what its exit codes mean."""
