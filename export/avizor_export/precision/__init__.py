"""Make float16 and int8 versions of a graph, and refuse one that loses too much accuracy."""
