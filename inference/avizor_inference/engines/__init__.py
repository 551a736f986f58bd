"""Run a repository's models with engines behind one interface."""
