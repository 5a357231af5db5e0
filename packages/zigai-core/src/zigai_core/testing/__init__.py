"""Conformance suites, toy models and measures, for the tests of plugins in any package."""
