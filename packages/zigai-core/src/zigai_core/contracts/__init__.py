"""What a plugin is given and implements: errors, dtypes, descriptor, graph, batch, options, protocols."""
