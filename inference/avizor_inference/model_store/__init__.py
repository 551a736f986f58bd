"""Bring versions of models to an object store, and from there into a repository: `avizor models push` and `pull`."""
