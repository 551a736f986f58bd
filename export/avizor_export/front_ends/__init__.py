"""Front ends as torch modules, exported into the graph: what raw input needs before the network."""
