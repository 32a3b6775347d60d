"""Sockets from systemd and words to it: the variables, real processes, and systemd's own tool."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time

import aiohttp
import pytest

from nymgate.access.judge import is_loopback
from nymgate.config_layers import load
from nymgate.errors import ConfigError, ListenError
from nymgate.listener.activation import HandedOver, handed_over
from nymgate.listener.activation_io import READY, Activated, in_place, notify
from nymgate.watch.watch_io import serve_metrics
from nymgate.wiring import make_plan
from tests.nymgate.socks_client import GREETING, connect_request

TOOL = shutil.which("systemd-socket-activate")
# Serves what it was handed with an upstream that echoes, and says so to whoever started it.
SERVICE = textwrap.dedent(
    """
    import asyncio, os, sys
    from nymgate.listener.activation_io import READY, Activated, notify
    from nymgate.listener.detect import Speaks
    from nymgate.listener.server import SocksServer
    from tests.nymgate.listener_upstreams import EchoUpstream

    async def main():
        activated = Activated.of_process()
        assert not [name for name in os.environ if name.startswith("LISTEN_")]
        async with SocksServer(EchoUpstream()) as server:
            for name, speaks in (("mixed", Speaks.MIXED), ("http", Speaks.HTTP)):
                for sock in activated.take(name):
                    await server.adopt(sock, speaks)
            activated.close()
            notify(READY)
            await asyncio.sleep(100)

    asyncio.run(main())
    """
)


def test_the_variables_of_systemd():
    def names(**environ):
        return [(one.descriptor, one.name) for one in handed_over(environ, 7)]

    assert names(LISTEN_PID="7", LISTEN_FDS="2") == [(3, "mixed"), (4, "mixed")]
    assert names(LISTEN_PID="7", LISTEN_FDS="3", LISTEN_FDNAMES="http:metrics:nymgate.socket") == [
        (3, "http"),
        (4, "metrics"),
        (5, "mixed"),
    ]
    assert names(LISTEN_PID="7", LISTEN_FDS="2", LISTEN_FDNAMES="unknown") == [(3, "mixed"), (4, "mixed")]
    for nothing in (
        {},
        {"LISTEN_PID": "8", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "7"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "x"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "0"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "-1"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "99999"},
    ):
        assert handed_over(nothing, 7) == ()
    with pytest.raises(ListenError, match="mixd"):
        handed_over({"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "mixd"}, 7)
    assert HandedOver(3, "web").name == "web"


def listening(family=socket.AF_INET, address=("127.0.0.1", 0)):
    sock = socket.socket(family)
    sock.bind(address)
    sock.listen(5)
    return sock


def plan_of(tmp_path, **flags):
    return make_plan(load(environ={"HOME": str(tmp_path)}, flags=flags).config, tmp_path)


def test_sockets_take_the_place_of_addresses_of_their_name(tmp_path):
    plan = plan_of(tmp_path, **{"listen.http": ["127.0.0.1:8118"], "listen.socks": [f"unix:{tmp_path}/s"]})
    with listening() as sock, listening(socket.AF_UNIX, str(tmp_path / "u")) as unix:
        kept, sockets = in_place(plan, Activated({"mixed": [sock], "socks": [unix], "metrics": []}))
        assert [sock for _speaks, sock in sockets] == [sock, unix]
    assert kept.listen == ()
    assert kept.listen_unix == ()
    assert [at for _speaks, at in kept.listen_apart] == [(), (("127.0.0.1", 8118),)]
    assert in_place(plan, Activated()) == (plan, [])


def test_a_socket_that_others_reach_needs_users_or_networks(tmp_path):
    with listening(address=("0.0.0.0", 0)) as sock:
        with pytest.raises(ConfigError, match="systemd"):
            in_place(plan_of(tmp_path), Activated({"mixed": [sock]}))
        open_to_some = plan_of(tmp_path, **{"access.allow": ["10.0.0.0/8"]})
        assert in_place(open_to_some, Activated({"mixed": [sock]}))[1]


ASKED = GREETING + connect_request() + b"hello"


def talk(sock, said=ASKED, length=17):
    sock.sendall(said)
    answer = b""
    while len(answer) < length:
        more = sock.recv(1000)
        assert more, answer
        answer += more
    return answer


def until(address, family=socket.AF_INET):
    """A connection, once somebody listens."""
    deadline = time.monotonic() + 60
    while True:
        sock = socket.socket(family)
        sock.settimeout(60)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return sock


def test_a_process_serves_the_sockets_it_is_handed_and_says_that_it_is_ready(tmp_path):
    told = tmp_path / "notify"
    with (
        listening() as tcp,
        listening(socket.AF_UNIX, str(tmp_path / "u")) as unix,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(told))
        manager.settimeout(60)
        # As systemd does it: the descriptors from 3 on, and the number of the process in its environment.
        start = (
            "import os, sys; a, b = int(sys.argv[1]), int(sys.argv[2]); "
            "a, b = os.dup2(a, 60), os.dup2(b, 61); os.dup2(a, 3); os.dup2(b, 4); "
            "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.executable, [sys.executable, '-c', sys.argv[3]])"
        )
        environ = os.environ | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "mixed:http", "NOTIFY_SOCKET": str(told)}
        process = subprocess.Popen(
            [sys.executable, "-c", start, str(tcp.fileno()), str(unix.fileno()), SERVICE],
            pass_fds=(tcp.fileno(), unix.fileno()),
            env=environ,
        )
        try:
            assert manager.recv(100) == READY.encode()
            with until(tcp.getsockname()) as sock:
                assert talk(sock)[12:] == b"hello"
            with until(str(tmp_path / "u"), socket.AF_UNIX) as sock:
                assert talk(sock, b"CONNECT a:80 HTTP/1.1\r\n\r\n", 12).startswith(b"HTTP/1.1 200")
        finally:
            process.kill()
            process.wait()


@pytest.mark.skipif(TOOL is None, reason="systemd's tool is not on this machine")
def test_systemds_own_tool_starts_us_at_the_first_connection(tmp_path):
    with listening() as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            TOOL,
            "--listen",
            f"127.0.0.1:{port}",
            "--fdname",
            "mixed",
            "-E",
            "PYTHONPATH",
            sys.executable,
            "-c",
            SERVICE,
        ],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stderr=subprocess.DEVNULL,
    )
    try:
        with until(("127.0.0.1", port)) as sock:
            assert talk(sock)[12:] == b"hello"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["datagram", "bound", "file"])
def test_what_is_no_listening_socket_is_an_error(kind, tmp_path):
    script = textwrap.dedent(
        f"""
        import os, socket
        from nymgate.listener.activation_io import Activated
        from nymgate.errors import ListenError
        kind = {kind!r}
        if kind == "file":
            thing = open(os.devnull)
        else:
            thing = socket.socket(type=socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
            thing.bind(("127.0.0.1", 0))
        os.dup2(thing.fileno(), 3)
        try:
            Activated.of_process({{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}})
        except ListenError as error:
            print("refused", error, flush=True)
        os._exit(0)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.startswith("refused"), done.stderr


async def test_nobody_is_told_where_nobody_asks(tmp_path):
    assert not notify(READY, {})
    assert not notify(READY, {"NOTIFY_SOCKET": "relative"})
    assert not notify(READY, {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"nymgate-test-{os.getpid()}"
        manager.bind("\0" + name)
        manager.setblocking(False)
        assert notify(READY, {"NOTIFY_SOCKET": "@" + name})
        assert await asyncio.get_running_loop().sock_recv(manager, 100) == READY.encode()


async def test_metrics_are_served_on_a_socket_handed_over(tmp_path):
    plan = plan_of(tmp_path)
    with listening() as sock:
        plan, sockets = in_place(plan, Activated({"metrics": [sock]}))
        assert sockets == []
        assert plan.metrics_socket is sock

        async def snapshot():
            raise AssertionError("not asked for")

        async with contextlib.AsyncExitStack() as stack:
            where = await serve_metrics(plan, stack, snapshot, snapshot, is_loopback)
            assert where == sock.getsockname()
            async with (
                aiohttp.ClientSession() as session,
                session.get("http://{}:{}/livez".format(*where)) as answer,
            ):
                assert await answer.json() == {"alive": True}


def test_metrics_handed_over_need_an_address_that_others_do_not_reach(tmp_path):
    with listening(address=("0.0.0.0", 0)) as sock, pytest.raises(ConfigError, match="metrics"):
        in_place(plan_of(tmp_path), Activated({"metrics": [sock]}))
    with listening(socket.AF_UNIX, str(tmp_path / "u")) as unix, pytest.raises(ListenError, match="metrics"):
        in_place(plan_of(tmp_path), Activated({"metrics": [unix]}))
