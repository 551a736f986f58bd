"""The page on which a person looks at what a job flagged, and answers."""
