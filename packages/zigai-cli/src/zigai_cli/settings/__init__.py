"""The user's settings: the configuration file, what it may set, and the defaults that it gives options."""
