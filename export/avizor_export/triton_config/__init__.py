"""Triton's config.pbtxt: its settings, its generated text, and the user's overrides."""
