"""Draw pictures in a process with limits: in a thread it would compete with all calls for Python's lock, and could not end."""
