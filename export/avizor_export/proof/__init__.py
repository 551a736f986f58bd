"""What the proof is made of: the items, what may differ, and what is refused whatever the graph gives."""
