"""Serve HTTP: avizor.v1 as JSON and files, and the Open Inference Protocol's REST form."""
