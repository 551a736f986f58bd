"""Anomalies: from reconstruction scores to p-values and verdicts."""
