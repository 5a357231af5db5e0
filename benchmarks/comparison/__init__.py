"""Modules of `compare.py` and `accuracy.py`."""
