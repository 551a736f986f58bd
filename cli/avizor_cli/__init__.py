"""The `avizor` command."""
