"""Read files of a user's data as raw items: for parity, calibration and metrics on held-out data."""
