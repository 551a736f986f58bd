"""Build the networks of Avizor, plain torch modules: a classifier returns logits, an autoencoder a reconstruction."""
