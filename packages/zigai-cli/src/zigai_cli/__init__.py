"""`zig-ai`: chat with language models on the machine at hand."""
