"""The conformance suite for sampler steps."""

from zigai_core.testing.sampler.suite import SamplerConformance

__all__ = ["SamplerConformance"]
