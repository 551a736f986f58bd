"""Ways in: whatever a user has, as a network (or a checked graph), an input description and labels."""
