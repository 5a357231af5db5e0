"""The conformance suite for architectures: graphs against oracles, and what they read."""

from zigai_core.testing.architecture.llama_cpp import LlamaCppConformance
from zigai_core.testing.architecture.suite import ArchitectureConformance

__all__ = ["ArchitectureConformance", "LlamaCppConformance"]
