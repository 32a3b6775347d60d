"""Several workers behind one address: who carries what, who dies, who comes back, and that nothing is left behind."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate.config_layers import load
from nymgate.errors import ExitCode, StoreBusy
from nymgate.listener.detect import Speaks
from nymgate.listener.unix_socket import socket_path
from nymgate.workers import (
    RESTART_LIMIT_SECONDS,
    RULES,
    After,
    Failed,
    Handed,
    Malformed,
    Orders,
    Ready,
    Slot,
    Up,
    decode_news,
    encode_news,
    worker_config,
)
from tests.nymgate.running import running
from tests.nymgate.socks_client import through

BODY = random.Random(2).randbytes(20_000)


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


# ---- what they tell each other, and the table ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "news",
    [
        Up(),
        Ready("entry", "exit"),
        Ready("entry", "exit", 5, "2026-01-01", 1),
        Failed.of(StoreBusy("It is in use.", "Stop it.")),
    ],
)
def test_news_arrive_as_they_were_sent(news):
    line = encode_news(news)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_news(line) == news


def test_orders_arrive_as_they_were_given():
    orders = Orders(
        2, 3, "/x/é.toml", {"network": "a", "listen.mixed": ["b"], "x": None}, (Handed(7, Speaks.HTTP),)
    )
    assert Orders.decode(orders.encode()) == orders


@given(
    st.binary()
    | st.sampled_from([b"[]", b"{}", b'{"kind":"up","x":1}', b'{"kind":"failed"}', b"null", b"\xff"])
)
def test_other_lines_are_malformed(line):
    for decode in (decode_news, Orders.decode):
        with contextlib.suppress(Malformed):
            decode(line)
    with pytest.raises(Malformed):
        Orders.decode(b'{"number": 1}')


def test_an_error_is_the_same_in_the_parent():
    error = Failed.of(StoreBusy("It is in use.", "Stop it.")).error()
    assert (error.what, error.todo, error.code) == ("It is in use.", "Stop it.", "E_STORE_IN_USE")
    assert error.exit_code is ExitCode.BUSY


def test_restarts_come_later_and_later_and_hopeless_beginners_are_given_up():
    assert len(RULES) == 8
    slot = Slot(1)
    pauses = [slot.ended(ending=False, hopeless=False, lived_seconds=1.0) for _ in range(9)]
    assert [after for after, _pause in pauses] == [After.RESTART] * 9
    assert [pause for _after, pause in pauses] == [1, 2, 4, 8, 16, 32, 60, 60, RESTART_LIMIT_SECONDS]
    assert slot.ended(ending=False, hopeless=False, lived_seconds=100.0) == (After.RESTART, 1.0)
    assert slot.ended(ending=True, hopeless=False, lived_seconds=100.0)[0] is After.NOTHING
    assert slot.ended(ending=False, hopeless=True, lived_seconds=1.0)[0] is After.GIVE_UP
    slot.was_ready = True
    assert slot.ended(ending=False, hopeless=True, lived_seconds=1.0)[0] is After.RESTART


def test_a_worker_leaves_to_the_parent_what_there_is_once():
    config = load(environ={}, flags={"workers": 4, "streams.limit": 7}).config
    own = worker_config(config)
    assert (own.listen.metrics, own.listen.web, own.workers, own.streams.limit) == ("", "", 1, 7)


# ---- the real thing -----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def site():
    """Yields a port, the event that lets `/slow` end, and the requests that wait for it."""
    release, waiting = asyncio.Event(), []

    async def page(_request):
        return web.Response(body=BODY)

    async def slow(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first ")
        waiting.append(request)
        await release.wait()
        await response.write(b"last")
        return response

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/slow", slow)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1], release, waiting
    finally:
        release.set()
        await runner.cleanup()


async def fetch(proxy_port, port, path="/"):
    """The body of a page through the proxy. Raises what breaks."""
    async with through(proxy_port, "127.0.0.1", port) as (reader, writer, code):
        if code:
            raise ConnectionError(f"refused with {code}")
        writer.write(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        answer = await reader.read(-1)
        if not answer:
            raise ConnectionError("empty")
        return answer.partition(b"\r\n\r\n")[2]


async def outcome_of(work):
    """What came of it, be it an error."""
    try:
        return await work
    except (OSError, EOFError) as error:
        return error


def arguments(network, count=2):
    return (
        *("--network", str(network.net.data_dir / "localnet.toml"), "--profile", "uncovered"),
        *("--listen", "127.0.0.1:0", "--workers", str(count)),
    )


ENVIRON = {"NYMGATE_LISTEN__METRICS": "127.0.0.1:0", "NYMGATE_LISTEN__WEB": "127.0.0.1:0"}


def folders(tmp_path):
    return [tmp_path / "data" / "localnet" / "workers" / str(number) for number in (1, 2)]


async def ask(folder, path="/snapshot"):
    """The answer of a control socket, or None."""
    try:
        with socket_path(folder) as where:
            reader, writer = await asyncio.open_unix_connection(where)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    with contextlib.closing(writer):
        writer.write(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        return json.loads((await reader.read(-1)).partition(b"\r\n\r\n")[2])


def process_of(folder):
    """Who holds the lock of a worker's folder."""
    return int((folder / "lock").read_text())


def alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(OSError):
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def until(condition):
    async with asyncio.timeout(90):
        while not condition():  # noqa: ASYNC110 - states of other processes
            await asyncio.sleep(0.05)


async def carried(folder):
    """Bytes that a worker handed to applications."""
    answer = await ask(folder)
    return answer["streams"]["bytes_down"] if answer else 0


async def open_streams(folder):
    answer = await ask(folder)
    return answer["streams"]["open"] if answer else 0


async def test_all_carry_streams_one_may_die_and_nothing_is_left(network, tmp_path):
    async with (
        site() as (port, release, waiting),
        running(tmp_path, *arguments(network), environ=ENVIRON) as run,
        asyncio.TaskGroup() as group,
    ):
        assert "2 workers" in run.said
        parent = run.process.pid
        first, second = folders(tmp_path)
        pids = [process_of(folder) for folder in (first, second)]
        assert len({parent, *pids}) == 3
        for folder in (first, second):
            assert folder.stat().st_mode & 0o777 == 0o700
            assert (folder / "control.sock").stat().st_mode & 0o777 == 0o600

        # Some streams at a time, until both have carried some.
        async with asyncio.timeout(90):
            while not all([await carried(folder) for folder in (first, second)]):
                bodies = await asyncio.gather(*(fetch(run.port, port) for _ in range(6)))
                assert set(bodies) == {BODY}

        # Streams that stay, so many that each worker has one, and then one worker is killed.
        slow = []
        async with asyncio.timeout(90):
            while any([await open_streams(folder) for folder in (first, second)]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # those of before are on their way out
            while not all([await open_streams(folder) for folder in (first, second)]):
                slow.append(group.create_task(outcome_of(fetch(run.port, port, "/slow"))))
                await until(lambda: len(waiting) + sum(task.done() for task in slow) == len(slow))
        os.kill(pids[0], signal.SIGKILL)
        await run.says(r"worker\.ended.*|.*SIGKILL")
        for _ in range(5):
            assert await fetch_patiently(run.port, port) == BODY
        await until(lambda: process_of(first) != pids[0])
        assert process_of(second) == pids[1], "the other one goes on"
        release.set()
        outcomes = await asyncio.gather(*slow)
        assert b"first last" in outcomes, "streams of the other one are whole"
        assert not all(outcome == b"first last" for outcome in outcomes), (
            "and those of the killed one are lost"
        )
        assert all(
            outcome in (b"first last", b"first ") or isinstance(outcome, (OSError, EOFError))
            for outcome in outcomes
        )

        pids = [process_of(folder) for folder in (first, second)]
        run.send(signal.SIGTERM)
        assert await run.end() == 0
        assert not [pid for pid in pids if alive(pid)]
        assert not list(tmp_path.rglob("*.sock"))
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection("127.0.0.1", run.port)


async def fetch_patiently(proxy_port, port):
    """A connection that the killed one had taken is lost: its application tries again."""
    for _ in range(10):
        with contextlib.suppress(OSError, EOFError):
            return await fetch(proxy_port, port)
        await asyncio.sleep(0.5)
    return None


@pytest.mark.slow
async def test_workers_end_with_their_parent_whatever_ends_it(network, tmp_path):
    async with running(tmp_path, *arguments(network), environ=ENVIRON) as run:
        pids = [process_of(folder) for folder in folders(tmp_path)]
        assert all(alive(pid) for pid in pids)
        run.send(signal.SIGKILL)
        await until(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.slow
async def test_a_second_signal_ends_all_at_once(network, tmp_path):
    async with (
        site() as (port, _release, waiting),
        running(tmp_path, *arguments(network), environ=ENVIRON) as run,
        asyncio.TaskGroup() as group,
    ):
        slow = group.create_task(outcome_of(fetch(run.port, port, "/slow")))
        await until(lambda: waiting)
        run.send(signal.SIGTERM)
        await run.says("stopping")
        pids = [process_of(folder) for folder in folders(tmp_path)]
        run.send(signal.SIGTERM)
        assert await run.end() == 0
        assert not [pid for pid in pids if alive(pid)]
        assert await slow != b"first last"


@pytest.mark.slow
async def test_a_hopeless_worker_ends_all_with_its_words(network, tmp_path):
    first, _second = folders(tmp_path)
    first.mkdir(parents=True)
    (first / "private_identity.pem").mkdir()
    async with running(tmp_path, *arguments(network), environ=ENVIRON, ready=False) as run:
        code = await run.end()
        assert code == ExitCode.FAILED, run.said
        assert "private_encryption.pem is missing" in run.said
        assert "[E_STORE]" in run.lines[-1]


@pytest.mark.slow
async def test_a_hangup_reaches_every_worker_and_sockets_are_bound_once(network, tmp_path):
    file = tmp_path / "nymgate.toml"
    file.write_text("[streams]\nlimit = 100\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        async with running(
            tmp_path, *arguments(network), "--listen", busy, environ=ENVIRON, ready=False
        ) as run:
            assert await run.end() == 1
            assert "E_LISTEN" in run.said
    async with running(tmp_path, *arguments(network), "--config", str(file), environ=ENVIRON) as run:
        file.write_text("[streams]\nlimit = 50\n[mixnet]\nsurb_bank = 5\n")
        run.send(signal.SIGHUP)
        await until(lambda: sum("reloaded" in line for line in run.lines) == 2)
        assert sum("needs a restart: mixnet.surb_bank" in line for line in run.lines) == 2
        assert {json.loads(line)["worker"] for line in run.lines if "reloaded" in line} == {1, 2}
        run.send(signal.SIGINT)
        assert await run.end() == 0
