"""Engines that run a repository's models, behind one interface."""
