"""Measurements and facts that commands print: timing, random models, summaries of files."""
