"""Other precisions of a proven graph, and the guard that measures what they lose."""
