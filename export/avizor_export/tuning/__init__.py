"""Implement `avizor tune`: find the settings that serve a model fastest on this machine."""
