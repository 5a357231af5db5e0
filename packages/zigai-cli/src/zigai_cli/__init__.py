"""The `zig-ai` command: runs language models on the machine at hand."""
