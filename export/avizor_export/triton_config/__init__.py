"""Generate Triton's config.pbtxt from settings, and merge the user's overrides over it."""
