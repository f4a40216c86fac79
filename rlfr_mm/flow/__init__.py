"""The flow field: path, velocity network, losses and the online update."""
