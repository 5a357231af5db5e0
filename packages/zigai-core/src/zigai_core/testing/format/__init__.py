"""The conformance suite for formats, and the contents of other formats that it names."""

from zigai_core.testing.format.foreign import FOREIGN
from zigai_core.testing.format.suite import FormatConformance

__all__ = ["FOREIGN", "FormatConformance"]
