"""Live jobs: rounds over a folder into which files keep arriving, and recordings of sound that comes on standard input."""
