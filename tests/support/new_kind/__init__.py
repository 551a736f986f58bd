"""The two files of a kind of item that Avizor does not have."""
