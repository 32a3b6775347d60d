"""Settings of the whole test suite."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadlines: a busy machine must not fail a test..
settings.register_profile("default-suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default-suite")
