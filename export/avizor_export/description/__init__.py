"""Implement `avizor describe`: list a network layer by layer, and warn where it breaks the rules of design."""
