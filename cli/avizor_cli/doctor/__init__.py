"""Run `avizor doctor`: see which engines, providers and extras are here, and why not the others. cli.py has the command."""
