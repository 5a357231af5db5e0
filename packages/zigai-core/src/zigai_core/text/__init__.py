"""Text before and after the model: chat templates, control tokens in user text, streams, reasoning."""
