"""Train detectors of anomalies without tuning: an autoencoder, and a second score that is computed beside its error."""
