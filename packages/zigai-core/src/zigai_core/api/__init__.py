"""What programs call: plugin registry, loading, models, chats."""
