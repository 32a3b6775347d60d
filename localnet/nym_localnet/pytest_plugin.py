"""Pytest plugin: fixtures that bring a whole Nym network up on loopback. Installed with the distribution.

`localnet`
    A running network of three mix nodes, two gateways and an exit, fresh for each test, as
    :class:`nym_localnet.Localnet`::

        async def test_my_client(localnet):
            connect_to(localnet.nym_api_url)

    Mark a test to ask for another network; the arguments are the fields of
    :class:`nym_localnet.LocalnetOptions`::

        @pytest.mark.localnet(gateways=1, loss={"mix2": 0.2})
        async def test_with_loss(localnet): ...

        @pytest.mark.localnet(pay=True)
        async def test_buying(localnet):
            await localnet.payments.fund(address, 200_000_000)

`localnet_factory` An async function ``await localnet_factory(**options)`` that starts as many networks as a
test wants; all of them end with the test.

`localnet_url` The directory URL of a network in worker processes that lives as long as the test session.
Not async, so it serves tests of programs started with ``subprocess``, and tests without an event loop.

The fixtures need pytest-asyncio, or any plugin that runs async fixtures. Nothing but this module is loaded
until one of them is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

if TYPE_CHECKING:
    from nym_localnet.localnet_io import Localnet

LocalnetFactory = Callable[..., "Awaitable[Localnet]"]

F = TypeVar("F", bound=Callable[..., Any])


def async_fixture(function: F) -> F:
    """A fixture that is a coroutine: in strict mode pytest-asyncio looks at its own decorator only."""
    try:
        from pytest_asyncio import fixture
    except ImportError:
        return cast("F", pytest.fixture(function))
    return cast("F", fixture(function))


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "localnet(**options): what network the `localnet` fixture brings up (LocalnetOptions)"
    )


@async_fixture
async def localnet_factory() -> AsyncIterator[LocalnetFactory]:
    """Start networks: ``net = await localnet_factory(gateways=1)``."""
    from contextlib import AsyncExitStack

    from nym_localnet.localnet_io import Localnet
    from nym_localnet.options import LocalnetOptions

    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Localnet:
            return await stack.enter_async_context(Localnet(LocalnetOptions(**options)))

        yield start


@async_fixture
async def localnet(
    request: pytest.FixtureRequest, localnet_factory: LocalnetFactory
) -> AsyncIterator[Localnet]:
    """A running network, as the marker ``localnet`` of the test describes it."""
    marker = request.node.get_closest_marker("localnet")
    yield await localnet_factory(**(marker.kwargs if marker is not None else {}))


@pytest.fixture(scope="session")
def localnet_url() -> Iterator[str]:
    """URL of the directory of a network that lives as long as the session, in processes of its own."""
    from nym_localnet.background_io import BackgroundLocalnet
    from nym_localnet.options import LocalnetOptions, Mode

    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background.nym_api_url
