"""Run the gRPC gateway: it serves avizor.v1 with the models of an engine."""
