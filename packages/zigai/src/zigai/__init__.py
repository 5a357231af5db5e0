"""ZigAI."""
