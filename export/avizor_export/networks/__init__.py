"""Networks: every kind of argument that names a trained network, opened safely."""
