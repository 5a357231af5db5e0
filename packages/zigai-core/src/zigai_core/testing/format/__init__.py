"""The conformance suite for formats."""

from zigai_core.testing.format.suite import FormatConformance

__all__ = ["FormatConformance"]
