"""Messages and replies between a user and a model."""
