"""Files of a user's data as raw items: for parity, calibration and held-out figures."""
