"""Executors and models that check or script what an engine does, for tests of it."""
