"""Fit constants and read labels and metrics from files of a user's data, for export alone."""
