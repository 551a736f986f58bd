"""`avizor tune`: which settings serve a model fastest on this machine."""
