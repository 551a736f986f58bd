"""Look inside a published model: its filters, where it looks, and its latent space. No torch; pictures need matplotlib."""
