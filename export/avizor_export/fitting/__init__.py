"""`avizor fit`: from a folder of items to a published model, with each choice made from the data."""
