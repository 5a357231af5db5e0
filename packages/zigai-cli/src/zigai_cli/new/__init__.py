"""What `zig-ai new` writes: packages of plugins, from the templates in `templates/`."""
