"""The tests are those of an installed package; integration-tests/test_example_format.py runs them without."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

collect_ignore: list[str] = []
try:
    distribution("zigai-llama2c")
except PackageNotFoundError:
    collect_ignore.append("tests")
