"""Networks that come with Avizor. Each is a plain torch module: logits out of a classifier, the input out of an autoencoder."""
