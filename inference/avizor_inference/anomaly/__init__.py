"""Turn reconstruction scores into p-values and verdicts."""
