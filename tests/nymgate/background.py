"""A local network that outlives one test: it runs in a thread with an event loop of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from nym_localnet.localnet_io import Localnet
from nym_localnet.options import LocalnetOptions, Mode

T = TypeVar("T")
START_SECONDS = 60.0


class BackgroundNetwork:
    """Use as a context manager; `net` is the network, `do` runs a coroutine function of it there."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="localnet", daemon=True)

    def __enter__(self) -> "BackgroundNetwork":
        self._thread.start()
        self.net = self.do(self._up())
        return self

    def __exit__(self, *_error: object) -> None:
        self.do(self.net.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _up(self) -> Localnet:
        net = Localnet(LocalnetOptions(mode=Mode.PROCESSES, **self._options))
        await net.start()
        return net

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the network's loop and wait for its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)
