"""Triton's config.pbtxt: its settings, its text, and what a user changes in it."""
