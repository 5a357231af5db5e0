"""The conformance suite for backends."""

from zigai_core.testing.backend.suite import BackendConformance, logits_of, runner

__all__ = ["BackendConformance", "logits_of", "runner"]
