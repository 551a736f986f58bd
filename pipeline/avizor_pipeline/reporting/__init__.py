"""What a job tells people and Prometheus: progress, summary, metrics."""
