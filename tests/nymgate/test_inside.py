"""The proxy's own requests: HTTP over streams, with nothing listening in between."""

import asyncio
import contextlib
import io

import aiohttp
import pytest
from aiohttp import web

from nymgate.errors import Reply, StreamRefused
from nymgate.ways.inside_io import inside_connector

BODY = bytes(range(256)) * 4096


class TcpStream(asyncio.Protocol):
    """A stream of the kind that identities open, over TCP."""

    def __init__(self) -> None:
        self.consumer = None
        self.ended = []

    def connection_made(self, transport):
        self.transport = transport
        transport.pause_reading()

    def data_received(self, data):
        self.consumer.stream_data(data)

    def eof_received(self):
        self.consumer.stream_eof()
        return True

    def connection_lost(self, error):
        if not self.ended:
            self.ended.append("failed" if error else "ended")
            self.consumer.stream_failed(error) if error else self.consumer.stream_ended()

    def pause_writing(self):
        self.consumer.stream_paused()

    def resume_writing(self):
        self.consumer.stream_resumed()

    def start(self, consumer):
        self.consumer = consumer
        self.transport.resume_reading()

    def write(self, data):
        self.transport.write(data)

    def write_eof(self):
        self.transport.write_eof()

    def pause(self):
        self.transport.pause_reading()

    def resume(self):
        self.transport.resume_reading()

    def close(self):
        self.ended.append("closed")
        self.transport.close()

    def abort(self):
        self.ended.append("aborted")
        self.transport.abort()


@contextlib.asynccontextmanager
async def site():
    async def echo(request):
        return web.Response(body=await request.read() or BODY)

    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.get("/", echo), web.post("/", echo)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_requests_go_over_streams_and_names_are_not_looked_up():
    streams, targets = [], []

    async with site() as port:

        async def opens(target):
            targets.append(target.reveal())
            _transport, stream = await asyncio.get_running_loop().create_connection(
                TcpStream, "127.0.0.1", port
            )
            streams.append(stream)
            return stream

        async with aiohttp.ClientSession(connector=inside_connector(opens)()) as session:
            for _ in range(2):
                async with session.get(f"http://name.that.is.nowhere.invalid:{port}/") as response:
                    assert await response.read() == BODY
            async with session.post(
                f"http://name.that.is.nowhere.invalid:{port}/", data=io.BytesIO(BODY * 8)
            ) as response:
                assert await response.read() == BODY * 8
        assert targets == [f"name.that.is.nowhere.invalid:{port}"], "one connection, kept alive"
        async with asyncio.timeout(60):
            while not streams[0].ended:  # noqa: ASYNC110 - a list
                await asyncio.sleep(0.01)


async def test_what_is_refused_is_an_error():
    async def opens(_target):
        raise StreamRefused(
            "There is no way.",
            "Wait.",
            code="E_NO_WAY",
            layer="gateway",
            socks_reply=Reply.NETWORK_UNREACHABLE,
        )

    async with aiohttp.ClientSession(connector=inside_connector(opens)()) as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="no way"):
            await session.get("http://127.0.0.1:9/")


async def test_a_broken_stream_breaks_the_request():
    async with site() as port:

        async def opens(_target):
            loop = asyncio.get_running_loop()
            _transport, stream = await loop.create_connection(TcpStream, "127.0.0.1", port)
            start = stream.start

            def broken(consumer):
                start(consumer)
                stream.ended.append("failed")
                stream.transport.abort()
                loop.call_soon(consumer.stream_failed, OSError("broken"))

            stream.start = broken
            return stream

        async with aiohttp.ClientSession(connector=inside_connector(opens)()) as session:
            with pytest.raises(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{port}/") as response:
                    await response.read()
