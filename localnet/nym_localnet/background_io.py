"""A network that runs beside code without an event loop: in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from nym_localnet.localnet_io import Localnet
from nym_localnet.options import LocalnetOptions

COMMAND_SECONDS: Final = 60.0

T = TypeVar("T")


class BackgroundLocalnet:
    """Use it as a context manager. `net` is the network; call its coroutines by `do`."""

    def __init__(self, options: LocalnetOptions | None = None) -> None:
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="localnet", daemon=True)
        self.net: Localnet

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.net = self.do(self._start())
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self.do(self.net.close())
        finally:
            self._end_thread()

    @property
    def nym_api_url(self) -> str:
        """Base URL of the directory."""
        return self.net.nym_api_url

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the network, e.g. `do(net.rotate())`, and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(COMMAND_SECONDS)

    async def _start(self) -> Localnet:
        net = Localnet(self._options)
        await net.start()
        return net

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
