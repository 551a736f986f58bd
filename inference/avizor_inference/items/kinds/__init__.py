"""Define the kinds of items: a file each, with the description of an item and how one is decoded."""
