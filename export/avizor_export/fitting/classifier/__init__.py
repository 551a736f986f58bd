"""Fit a classifier from items that are sorted into classes."""
