"""The contracts that plugins implement and the types they exchange; imports nothing else of ZigAI."""
