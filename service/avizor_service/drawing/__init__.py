"""Draw pictures in a process with limits. In a thread it would compete with all calls for Python's lock, and could not be ended."""
