"""The commands of `zig-ai`, one module each."""
