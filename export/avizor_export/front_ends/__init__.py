"""Compute what raw input needs before the network: front ends as torch modules, exported into the graph."""
