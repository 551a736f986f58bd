"""Write the log of a gateway: its lines, how they are rendered, and the thread that writes them."""
