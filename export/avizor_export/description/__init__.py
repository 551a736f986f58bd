"""`avizor describe`: a network layer by layer, and where it breaks the rules of design."""
