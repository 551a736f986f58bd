"""Serve the Open Inference Protocol (KServe's v2), with Triton's extensions that its clients use.

`infer.py` and what it uses knows tensors and models, and no transport: start there. `servicer.py` ties the RPCs of gRPC to it.
"""
