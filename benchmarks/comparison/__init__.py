"""The parts of `compare.py` and `numbers.py`, a noun each."""
