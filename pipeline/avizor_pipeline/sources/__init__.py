"""Sources list what a job works on."""
