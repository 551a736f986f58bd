"""Precision: float16 and int8 versions, and the guard that refuses one that lost too much."""
