"""The gRPC gateway: avizor.v1 over an engine."""
