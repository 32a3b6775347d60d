"""Which event loops the tests of this folder run on, and a log set-up that no test leaves to the next."""

import asyncio
import logging

import pytest
import structlog
import uvloop

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nym_localnet.payment_options import DEFAULT_PRICE, PaymentOptions
from nymgate.logs import _QUIETER
from tests.nymgate.paid_world import BLOCK_SECONDS
from tests.nymgate.person import Person


def pytest_asyncio_loop_factories(config, item):
    """The listener meets the event loop at its sharp edges (half-close, pause, abort): both kinds, all its tests."""
    factories = {"asyncio": asyncio.new_event_loop}
    marked = item.get_closest_marker("both_loops") is not None
    if marked or item.module.__name__.endswith((".test_server", ".test_http_proxy")):
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


@pytest.fixture(scope="session")
def paid_network():
    """A paying local network in the background, one for all tests of this process that share one."""
    payment = PaymentOptions(block_seconds=BLOCK_SECONDS, ticket_retry_seconds=0.5)
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES, pay=True, payment=payment)) as background:
        yield background


@pytest.fixture
def person(paid_network, tmp_path):
    """Somebody at a shell with a home of their own; signers and prices are as they were afterwards."""
    yield Person(paid_network, tmp_path)
    payments = paid_network.net.payments
    payments.set_price(DEFAULT_PRICE)
    for signer in payments.signers:
        signer.faults.down = False
        signer.faults.refuse_blind_sign = None
