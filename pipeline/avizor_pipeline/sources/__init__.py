"""Sources list what a job works on, and open it."""
