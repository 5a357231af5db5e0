"""The public API: plugin registry, loading, models, chats and replies."""
