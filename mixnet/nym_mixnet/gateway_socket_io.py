"""The websocket to a gateway: opening it, and letting go of it (docs/protocol/03 §1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from nym_mixnet.errors import GatewayError, GatewayProtocolError, GatewayUnreachable
from nym_mixnet.gateway_wire import MAX_MESSAGE_BYTES
from nym_mixnet.link_state import LinkOptions

_CONNECTION_ERRORS = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


class GatewaySocket(aiohttp.ClientWebSocketResponse):
    """A websocket that can be dropped at once, without waiting for what is still in its buffers."""

    def __init__(self, reader: Any, writer: Any, *args: Any, **kwargs: Any) -> None:
        self._transport: asyncio.Transport = writer.transport
        self._held = False
        super().__init__(reader, writer, *args, **kwargs)

    @property
    def broken(self) -> bool:
        """Nothing can be written any more."""
        return self.closed or self._transport.is_closing()

    def hold_reading(self) -> None:
        """Leave what comes in the system's buffer until `resume_reading`."""
        self._held = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, if it was us who held it: the library pauses by itself when we do not keep up."""
        if self._held:
            self._held = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection: a plain close would wait for a peer that does not read."""
        self._transport.abort()

    async def say_goodbye(self) -> None:
        """Close in good order, in bounded time, whatever the other side does."""
        self.resume_reading()
        try:
            await self.close()
        except _CONNECTION_ERRORS:
            self.abort()

    def lost(self, message: aiohttp.WSMessage) -> GatewayError:
        """Why reading ended with `message`, which is no data."""
        if isinstance(self.exception(), aiohttp.ServerTimeoutError):
            return GatewayUnreachable("the gateway shows no sign of life")
        if message.type is aiohttp.WSMsgType.ERROR:
            return GatewayProtocolError(f"the websocket broke ({type(message.data).__name__})")
        return GatewayUnreachable("the gateway closed the connection")


@asynccontextmanager
async def open_socket(urls: Sequence[str], options: LinkOptions) -> AsyncIterator[tuple[GatewaySocket, str]]:
    """The first of `urls` that answers, and its socket. `GatewayUnreachable` says what was wrong with each.

    Nothing is taken from the environment (proxies) and nothing is told about this program (no user agent).
    """
    if not urls:
        raise GatewayUnreachable("the gateway names no address for clients")
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent",),
        trust_env=False,
        ws_response_class=GatewaySocket,
    ) as http:
        socket, url = await _first(http, urls, options)
        try:
            yield socket, url
        finally:
            socket.abort()


async def _first(
    http: aiohttp.ClientSession, urls: Sequence[str], options: LinkOptions
) -> tuple[GatewaySocket, str]:
    troubles = []
    for url in urls:
        try:
            async with asyncio.timeout(options.connect_timeout_seconds):
                socket = await http.ws_connect(
                    url,
                    autoping=True,
                    compress=0,
                    heartbeat=options.heartbeat_seconds,
                    max_msg_size=MAX_MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=options.close_timeout_seconds),
                )
        except _CONNECTION_ERRORS as error:
            troubles.append(f"{url}: {_cause(error)}")
        else:
            assert isinstance(socket, GatewaySocket)
            return socket, url
    raise GatewayUnreachable(f"no connection to the gateway ({'; '.join(troubles)})")


def _cause(error: BaseException) -> str:
    """A few words without anything that the other side could have put in."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"no websocket there (HTTP {error.status})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
