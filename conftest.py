"""What holds for the tests of every package."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code: what must be quick measures for itself.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
