"""Make items of a job visible and audible."""
