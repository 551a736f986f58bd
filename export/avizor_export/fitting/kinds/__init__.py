"""Hold what differs between kinds of items: what is looked at in a folder of them, and what is chosen from that."""
