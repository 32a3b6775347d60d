"""Which event loops the tests of this folder run on, and a log set-up that no test leaves to the next."""

import asyncio
import logging

import pytest
import structlog
import uvloop

from nymgate.logs import _QUIETER


def pytest_asyncio_loop_factories(config, item):
    """The listener meets the event loop at its sharp edges (half-close, pause, abort): both kinds, all its tests."""
    factories = {"asyncio": asyncio.new_event_loop}
    if item.module.__name__.endswith((".test_server", ".test_http_proxy")):
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture(autouse=True)
def log_as_found():
    """Commands configure logging for their whole process, which here is that of all tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quieter = {name: logging.getLogger(name).level for name in _QUIETER}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in quieter.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)
    structlog.reset_defaults()
