"""Define the `avizor` command."""
