"""`nymgate exec`: real commands in a real network namespace, and what they cannot do there."""

import asyncio
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys

import pytest
from aiohttp import web

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate import wiring
from nymgate.apps.confinement import Confinement
from nymgate.apps.exec_plan import ExecPlan, Route, exit_code
from nymgate.apps.reachable import Login, Reachable
from nymgate.config_layers import load
from nymgate.daemon import Proxy

NYMGATE = [sys.executable, "-c", "from nymgate.cli import main; main()"]
HELLO = b"hello through the mixnet"


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


@contextlib.asynccontextmanager
async def proxy_on(network, folder):
    flags = {
        "network": str(network.net.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0"],
        "listen.metrics": "",
        "listen.web": "",
        "mixnet.profile": "uncovered",
    }
    config = load(environ={"HOME": str(folder)}, flags=flags).config
    async with Proxy(wiring.make_plan(config, folder / "proxy")) as proxy, asyncio.timeout(100):
        await proxy.ready()
        yield proxy.addresses[0][1]


@contextlib.asynccontextmanager
async def website():
    async def hello(_request):
        return web.Response(body=HELLO)

    site = web.Application()
    site.add_routes([web.get("/", hello)])
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def idle_proxy():
    """What looks like the proxy and takes connections: enough for commands that reach nothing."""

    async def answer(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nProxy-Status: nymgate; error=x\r\n\r\nno")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def environment(folder, **more):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NYMGATE_") and not name.lower().endswith("_proxy")
    }
    return kept | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)} | more


async def execute(folder, port, *words, before=(), **more):
    """Exit code, output, errors of `nymgate exec`."""
    process = await asyncio.create_subprocess_exec(
        *before,
        *NYMGATE,
        "exec",
        "--listen",
        f"127.0.0.1:{port}",
        *map(str, words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(folder, **more),
    )
    output, errors = await process.communicate()
    return process.returncode, output, errors.decode()


def python(program):
    return ("--", sys.executable, "-c", program)


@pytest.mark.slow
async def test_curl_gets_a_page_and_nothing_goes_around_the_proxy(network, tmp_path):
    """The page stands on this machine's loopback, where only the exit can see it."""
    async with website() as site, proxy_on(network, tmp_path) as port:
        url = f"http://localhost:{site}/"
        curl = ("--", "curl", "--disable", "-sS", "--max-time", "60")
        assert await execute(tmp_path, port, *curl, url, NO_PROXY="*", no_proxy="*") == (0, HELLO, "")
        tunnel = (*curl, "--proxytunnel", url)
        assert await execute(tmp_path, port, "--isolate", *tunnel) == (0, HELLO, "")
        # The same without the proxy, outside and inside.
        direct = (
            "curl",
            "--disable",
            "-sS",
            "--max-time",
            "20",
            "--noproxy",
            "*",
            f"http://127.0.0.1:{site}/",
        )
        outside = await asyncio.to_thread(
            subprocess.run, direct, capture_output=True, check=False, env=environment(tmp_path)
        )
        assert outside.stdout == HELLO
        code, output, _errors = await execute(tmp_path, port, "--", *direct)
        assert (code, output) == (7, b""), "loopback inside is another one"


@pytest.mark.slow
async def test_no_proxy_running_starts_one(network, tmp_path, unused_tcp_port):
    file = network.net.data_dir / "localnet.toml"
    words = ("--network", file, "--profile", "uncovered", "--", "curl", "--disable", "-sS")
    async with website() as site:
        code, output, errors = await execute(tmp_path, unused_tcp_port, *words, f"http://localhost:{site}/")
        assert (code, output) == (0, HELLO)
        assert "starting one" in errors


@pytest.mark.slow
async def test_no_way_into_the_mixnet_is_told_in_time(tmp_path, unused_tcp_port_factory):
    (tmp_path / "dead.toml").write_text(
        f'name = "dead"\nnym_api = ["http://127.0.0.1:{unused_tcp_port_factory()}/api"]\n'
    )
    words = ("--network", tmp_path / "dead.toml", "--wait", "2", "-q", "--json", "--", "true")
    code, output, errors = await execute(tmp_path, unused_tcp_port_factory(), *words)
    assert (code, output) == (4, b"")
    error = json.loads(errors.splitlines()[-1])["error"]
    assert error["code"] == "E_NETWORK"
    assert error["layer"] == "topology"


async def test_something_else_at_the_address_is_not_taken_for_the_proxy(tmp_path):
    async with website() as site:
        code, _output, errors = await execute(tmp_path, site, "--", "true")
        assert code == 2
        assert "no proxy of ours" in errors


REACH = """
import errno, json, socket
found = {}
for name, family, kind, address in [
    ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 80)),
    ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::1", 80)),
    ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)),
]:
    try:
        socket.socket(family, kind).connect(address)
        found[name] = "connected"
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
try:
    found["name"] = socket.getaddrinfo("example.com", 80)[0][4][0]
except socket.gaierror:
    found["name"] = "unknown"
with open("/proc/net/dev") as lines:
    found["interfaces"] = [line.split(":")[0].strip() for line in lines][2:]
with open("/proc/net/route") as lines:
    found["routes"] = len(lines.readlines()) - 1
print(json.dumps(found))
"""


async def test_there_is_no_route_and_no_name(tmp_path):
    async with idle_proxy() as port:
        code, output, errors = await execute(tmp_path, port, *python(REACH))
    assert (code, errors) == (0, "")
    found = json.loads(output)
    assert found["tcp"] == found["udp"] == "ENETUNREACH"
    assert found["tcp6"] in ("ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT")
    assert found["name"] == "unknown"
    assert "lo" in found["interfaces"]
    assert found["routes"] == 0


ESCAPE = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
try:
    descriptor = os.open("/proc/{outside}/ns/net", os.O_RDONLY)
    print(libc.setns(descriptor, 0x40000000))
except OSError:
    print(-1)
sock = socket.socket(socket.AF_UNIX)
try:
    sock.connect("\\0{name}")
    print("reached")
except OSError:
    print("unreached")
"""


async def test_there_is_no_way_back_out(tmp_path):
    """Not into the namespace of a process outside, and not to its abstract sockets."""
    name = f"outside-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        with socket.socket(socket.AF_UNIX) as check:
            check.connect(f"\0{name}")
        async with idle_proxy() as port:
            program = ESCAPE.format(outside=os.getpid(), name=name)
            code, output, _errors = await execute(tmp_path, port, *python(program))
    assert (code, output.split()) == (0, [b"-1", b"unreached"])


async def test_sockets_of_resolvers_are_covered(tmp_path):
    """A resolver behind a Unix socket would answer from outside the namespace."""
    covered = "/run/nscd"
    if os.geteuid() != 0:
        pytest.skip("only root can make the folder")
    made = not os.path.isdir(covered)
    os.makedirs(covered, exist_ok=True)
    path = f"{covered}/test-{os.getpid()}"
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            async with idle_proxy() as port:
                look = ("--", "ls", "-A", covered)
                assert await execute(tmp_path, port, *look) == (0, b"", "")
        assert os.path.exists(path), "outside it is still there"
    finally:
        os.unlink(path)
        if made:
            os.rmdir(covered)


@pytest.mark.parametrize(
    "words, code",
    [
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
        (("no-such-program-anywhere",), 127),
        (("/etc/hostname",), 126),
    ],
)
async def test_exit_codes_are_the_commands(tmp_path, words, code):
    async with idle_proxy() as port:
        found, _output, errors = await execute(tmp_path, port, "--", *words)
    assert found == code
    assert ("E_COMMAND" in errors) == (code in (126, 127))


async def test_options_after_the_command_are_the_commands(tmp_path):
    async with idle_proxy() as port:
        assert await execute(tmp_path, port, "echo", "--json", "-v", "--") == (0, b"--json -v --\n", "")


TRAP = """
import os, signal, sys
def stop(number, frame):
    os.write(1, b"got %d\\n" % number)
    sys.exit(40 + number)
signal.signal({number}, stop)
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
async def test_signals_are_passed_on(tmp_path, number):
    async with idle_proxy() as port:
        process = await asyncio.create_subprocess_exec(
            *NYMGATE,
            "exec",
            "--listen",
            f"127.0.0.1:{port}",
            *python(TRAP.format(number=int(number))),
            stdout=subprocess.PIPE,
            env=environment(tmp_path),
        )
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            rest = await process.stdout.read()
            assert (rest, await process.wait()) == (b"got %d\n" % number, 40 + number)


COUNT = """
import signal, sys, time
count = 0
def interrupt(number, frame):
    global count
    count += 1
signal.signal(signal.SIGINT, interrupt)
print("ready", flush=True)
while not count:
    time.sleep(0.05)
time.sleep(1)
print("interrupts:", count, flush=True)
"""


async def test_ctrl_c_comes_once(tmp_path):
    """The terminal tells the whole process group; we must not tell the command again."""
    async with idle_proxy() as port:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            "setsid",
            "--ctty",
            "--wait",
            *NYMGATE,
            "exec",
            "--listen",
            f"127.0.0.1:{port}",
            *python(COUNT),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(tmp_path),
        )
        os.close(theirs)
        os.set_blocking(ours, False)
        seen = b""
        async with asyncio.timeout(60):
            while process.returncode is None or b"interrupts" not in seen:
                with contextlib.suppress(BlockingIOError, OSError):
                    part = os.read(ours, 4096)
                    if b"ready" not in seen and b"ready" in seen + part:
                        os.write(ours, b"\x03")
                    seen += part
                await asyncio.sleep(0.02)
        os.close(ours)
    assert b"interrupts: 1" in seen
    assert process.returncode == 0


def without_namespaces(*kinds):
    """A surrounding in which the system does not allow these kinds of namespaces."""
    limits = "; ".join(f"echo 0 > /proc/sys/user/max_{kind}_namespaces" for kind in kinds)
    return ("unshare", "--user", "--map-root-user", "sh", "-ec", f'{limits}; exec "$@"', "sh")


@pytest.mark.slow
async def test_without_namespaces_variables_and_a_warning(tmp_path):
    before = without_namespaces("user", "net")
    show = ("sh", "-c", "echo $https_proxy; ls -l /proc/self/ns/net")
    async with idle_proxy() as port:
        code, output, errors = await execute(tmp_path, port, "-qq", "--", *show, before=before)
        assert code == 0
        assert output.splitlines()[0] == b"http://127.0.0.1:%d" % port
        assert os.readlink("/proc/self/ns/net").encode() in output
        assert "WARNING" in errors
        code, output, errors = await execute(tmp_path, port, "--strict", "--", *show, before=before)
        assert (code, output) == (3, b"")
        assert "E_DECLINED" in errors


@pytest.mark.slow
async def test_root_needs_no_user_namespace(tmp_path):
    """Where those are switched off, a network namespace alone does."""
    async with idle_proxy() as port:
        code, output, errors = await execute(
            tmp_path, port, "--strict", *python(REACH), before=without_namespaces("user")
        )
    assert (code, errors) == (0, "")
    assert json.loads(output)["tcp"] == "ENETUNREACH"


def test_routes_and_variables():
    at = Reachable.of([], [("192.168.1.5", 1080)], [("::1", 8118)])
    plan = ExecPlan(("true",), at, "secret")
    assert plan.routes() == (
        Route(("127.0.0.1", 1080), ("192.168.1.5", 1080)),
        Route(("::1", 8118), ("::1", 8118)),
    )
    inside = plan.environment({"PATH": "/bin", "https_proxy": "old"}, Confinement.NAMESPACE)
    assert inside["PATH"] == "/bin"
    assert inside["https_proxy"] == "http://isolated:secret@[::1]:8118"
    assert inside["ALL_PROXY"] == "socks5h://isolated:secret@127.0.0.1:1080"
    outside = plan.environment({}, Confinement.VARIABLES)
    assert outside["ALL_PROXY"] == "socks5h://isolated:secret@192.168.1.5:1080"
    assert "secret" not in repr(plan)
    plan = ExecPlan(("true",), at, "apart", Login("alice", "secret"))
    assert plan.environment({}, Confinement.NAMESPACE)["ALL_PROXY"] == (
        "socks5h://alice%2Bapart:secret@127.0.0.1:1080"
    )
    assert "secret" not in repr(plan)


def test_exit_code_of_signals():
    assert exit_code(-9) == 137
    assert exit_code(3) == 3
