"""Hide places of a row: which windows slide over it, what is put there, and the row that results."""
