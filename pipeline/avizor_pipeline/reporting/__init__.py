"""Tell people and Prometheus about a job: progress, summary, metrics."""
