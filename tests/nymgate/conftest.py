"""Which event loops the tests of this folder run on."""

import asyncio

import uvloop


def pytest_asyncio_loop_factories(config, item):
    """The listener meets the event loop at its sharp edges (half-close, pause, abort): both kinds, all its tests."""
    factories = {"asyncio": asyncio.new_event_loop}
    if item.module.__name__.endswith(".test_server"):
        factories["uvloop"] = uvloop.new_event_loop
    return factories
