"""Settings of the whole test suite."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: a busy machine must not fail a test.
settings.register_profile("default-suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default-suite")

# A shell starts what it runs in the background with Ctrl-C turned off, and processes that tests start inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With TESTS_NO_SKIPS, as in CI, a skip is a failure: a test that should run must not go missing silently.

    Programs that nobody has by default are the exception; their tests say so in the reason.
    """
    report = yield
    if report.skipped and os.environ.get("TESTS_NO_SKIPS") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if "needs program:" not in reason:
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid} was skipped, but must run here: {reason}"
    return report
