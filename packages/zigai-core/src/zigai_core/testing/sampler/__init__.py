"""The conformance suite for sampler steps, and the rows and definitions that it is given."""

from zigai_core.testing.sampler.golden import Definition, Golden
from zigai_core.testing.sampler.suite import SamplerConformance

__all__ = ["Definition", "Golden", "SamplerConformance"]
