"""The systemd units: hardened, valid, and a sandbox that the proxy really runs in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nymgate.config import Config
from nymgate.config_layers import credential_name, environment_layer, extra, load, settings
from nymgate.sections.listen import Listen
from nymgate.units import parse_duration
from tests.deploy.unit_sandbox import allowed_calls
from tests.deploy.unit_sandbox import settings as unit_settings
from tests.nymgate.paid_world import new_phrase, paying_network, until
from tests.nymgate.socks_client import through

FOLDER = Path(__file__).parents[2] / "deploy/systemd"
SERVICE = FOLDER / "nymgate.service"
SOCKET = FOLDER / "nymgate.socket"
EXPOSURE_LIMIT = 2.0
NYMGATE = Path(sys.executable).with_name("nymgate")


def analyze(*words):
    assert shutil.which("systemd-analyze"), "needs systemd's tools"
    return subprocess.run(
        ["systemd-analyze", *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_service_is_exposed_to_no_more_than_the_limit():
    said = analyze("security", "--offline=true", f"--threshold={EXPOSURE_LIMIT * 10:.0f}", SERVICE)
    assert said.returncode == 0, said.stdout
    level = float(re.search(r"Overall exposure level for nymgate.service: ([\d.]+)", said.stdout)[1])
    assert level <= EXPOSURE_LIMIT


def test_the_units_are_valid(tmp_path):
    """systemd wants the program to be there, so it gets this one."""
    for unit in (SERVICE, SOCKET):
        text = unit.read_text().replace("/usr/bin/nymgate", str(NYMGATE))
        (tmp_path / unit.name).write_text(text)
    said = analyze("verify", "--man=no", tmp_path / SERVICE.name, tmp_path / SOCKET.name)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_a_wrong_unit_would_be_found_out(tmp_path):
    (tmp_path / SERVICE.name).write_text(SERVICE.read_text().replace("Type=notify", "Type=nonsense"))
    said = analyze("verify", "--man=no", tmp_path / SERVICE.name)
    assert said.stdout + said.stderr


def test_the_socket_is_on_loopback_and_named_like_a_setting():
    lines = SOCKET.read_text().splitlines()
    addresses = [line.partition("=")[2] for line in lines if line.startswith("ListenStream=")]
    assert addresses
    assert all(address.startswith(("127.0.0.1:", "[::1]:")) for address in addresses)
    (name,) = [line.partition("=")[2] for line in lines if line.startswith("FileDescriptorName=")]
    assert name in Listen.model_fields


def test_what_the_unit_sets_is_known_and_its_credentials_are_secrets():
    said = unit_settings(SERVICE)
    environment = dict(pair.split("=", 1) for value in said["Environment"] for pair in value.split())
    layer = environment_layer(environment)
    assert layer.values == {"data_dir": f"/var/lib/{said['StateDirectory'][-1]}"}
    secrets = {credential_name(key) for key, info in settings().items() if extra(info, "secret")}
    credentials = {value.partition(":")[0] for value in said["LoadCredential"]}
    assert credentials
    assert credentials <= secrets


def test_stopping_leaves_time_to_drain():
    said = unit_settings(SERVICE)
    drain = load(environ={}).config.streams.drain
    assert parse_duration(said["TimeoutStopSec"][-1] + "s") > drain + 10
    assert Config.model_fields["streams"]


def test_the_filter_of_system_calls_keeps_what_python_needs_and_drops_what_nobody_does():
    allowed = allowed_calls(unit_settings(SERVICE)["SystemCallFilter"])
    assert {"epoll_wait", "openat", "futex", "fsync", "connect"} <= allowed
    assert not {"ptrace", "mount", "chroot", "setuid", "bpf", "init_module", "reboot"} & allowed


@pytest.mark.slow
async def test_the_proxy_serves_within_the_sandbox_of_the_unit(tmp_path):
    """System calls, families and memory as the unit allows; socket, notifications and phrase by systemd's ways."""
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "nymgate.account.phrase").write_text(new_phrase())
    async with paying_network() as net, site() as (target, body):
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        manager.bind(str(tmp_path / "notify"))
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        environment = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "CREDENTIALS_DIRECTORY": str(credentials),
            "NYMGATE_NETWORK": str(net.data_dir / "localnet.toml"),
            "NYMGATE_DATA_DIR": str(tmp_path / "state"),
            "NYMGATE_LISTEN__METRICS": "127.0.0.1:0",
            "NYMGATE_MIXNET__PROFILE": "uncovered",
        }
        shown = await asyncio.to_thread(nymgate, environment, "account", "get", "--json")
        await net.payments.fund(json.loads(shown)["address"], 400_000_000)
        words = [
            sys.executable,
            "-m",
            "tests.deploy.unit_sandbox",
            str(SERVICE),
            "mixed",
            "--",
            str(NYMGATE),
            "run",
        ]
        log = tmp_path / "log"
        with log.open("wb") as written:
            process = await asyncio.create_subprocess_exec(
                *words,
                env=environment,
                cwd=FOLDER.parents[1],
                stdout=written,
                stderr=subprocess.STDOUT,
                stdin=listening,
            )
        listening.close()
        heard = []

        async def told(words):
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append(manager.recv(4096).decode())
            return any(words in text for text in heard)

        try:
            await until(lambda: process.returncode is not None or "ready" in log.read_text())
            await until(lambda: told("READY=1"))
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE), "there is a filter"
            assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
            async with through(port, "127.0.0.1", target) as (reader, writer, reply):
                assert reply == 0
                writer.write(b"?")
                assert await reader.read() == body
            heard.clear()
            process.send_signal(signal.SIGHUP)
            await until(lambda: told("READY=1"))
            assert any("RELOADING=1" in text for text in heard)
            process.send_signal(signal.SIGTERM)
            await until(lambda: told("STOPPING=1"))
            async with asyncio.timeout(60):
                assert await process.wait() == 0
            assert "Operation not permitted" not in log.read_text()
        except BaseException:
            print(log.read_text())
            raise
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            manager.close()


def nymgate(environment, *words):
    done = subprocess.run(
        [str(NYMGATE), *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.asynccontextmanager
async def site():
    body = bytes(20_000)

    async def answer(reader, writer):
        await reader.readexactly(1)
        writer.write(body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], body
