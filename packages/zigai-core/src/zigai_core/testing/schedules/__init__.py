"""The ways in which the tokens of a sequence may be computed, for conformance suites."""

from zigai_core.testing.schedules.schedules import (
    SCHEDULES,
    Schedule,
    in_chunks,
    schedules_for,
    whole_prefill,
)

__all__ = ["SCHEDULES", "Schedule", "in_chunks", "schedules_for", "whole_prefill"]
