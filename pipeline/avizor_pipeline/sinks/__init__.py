"""Sinks keep the rows of a job: Parquet parts, commit records, the folder that holds them."""
