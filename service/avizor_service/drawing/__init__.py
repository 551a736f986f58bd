"""Draw pictures in a process: what draws holds Python's lock for as long as it draws, and nobody else could be answered."""
