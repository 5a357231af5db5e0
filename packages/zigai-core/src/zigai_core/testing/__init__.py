"""What every plugin can be held to, shipped so that plugins elsewhere can use it in their own tests."""
