"""The container image, as far as it can be proven without a container engine: linted, built step by step in a clean
root, and run from there as nobody in particular with nothing writable but its volume."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nym_localnet.localnet_io import Localnet
from nym_localnet.options import LocalnetOptions, Mode
from tests.deploy.clean_root import Root, build
from tests.deploy.containerfile import read
from tests.nymgate.paid_world import until
from tests.nymgate.socks_client import through

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/container/Containerfile"
NOBODY = "65532:65532"


def image():
    return read(FILE)[-1]


def pins(name):
    """Name to version of a lock file, and name to hashes."""
    text = (ROOT / name).read_text()
    blocks = re.findall(r"^([\w.-]+)==(\S+)([^\n]*\n(?:    .*\n?)*)", text, re.MULTILINE)
    assert blocks
    return (
        {package: version for package, version, _rest in blocks},
        {package: set(re.findall(r"--hash=(\S+)", rest)) for package, _version, rest in blocks},
    )


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_linter_has_nothing_to_say():
    linted = subprocess.run(["hadolint", str(FILE)], capture_output=True, text=True, check=False, env=path())
    assert (linted.returncode, linted.stdout) == (0, "")


def path():
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_the_base_is_pinned_and_the_same_throughout():
    stages = read(FILE)
    assert len(stages) == 2
    for stage in stages:
        assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", stage.base)


def test_it_is_not_root_and_checks_its_own_health():
    stage = image()
    assert stage.last("USER") == NOBODY
    assert stage.words("ENTRYPOINT") == ["nymgate"]
    assert stage.words("CMD") == ["run"]
    assert stage.last("HEALTHCHECK").endswith('CMD ["nymgate", "healthcheck"]')
    assert stage.environment()["NYMGATE_DATA_DIR"] == stage.last("VOLUME") == "/data"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["requirements-runtime.lock", "requirements-build.lock"])
def test_the_locks_of_the_image_are_cut_out_of_the_big_one(name):
    versions, hashes = pins(name)
    all_versions, all_hashes = pins("requirements.lock")
    assert versions.items() <= all_versions.items()
    for package, found in hashes.items():
        assert found
        assert found <= all_hashes[package]


def test_the_runtime_lock_has_what_is_needed_and_nothing_of_ours_for_development():
    versions, _hashes = pins("requirements-runtime.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {canonical(re.match(r"[\w.-]+", line)[0]) for line in project["project"]["dependencies"]}
    for_development = {
        canonical(re.match(r"[\w.-]+", line)[0]) for line in project["dependency-groups"]["dev"]
    }
    assert needed <= versions.keys()
    assert not for_development & versions.keys() - needed


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_36", "aarch64-manylinux_2_36"])
def test_there_are_wheels_of_all_of_it_for_the_python_of_the_image(platform, tmp_path):
    """The steps below run with this machine's Python; the image has another, and is built for two processors."""
    version = re.search(r"python:(3\.\d+)", read(FILE)[0].base)[1]
    for name in ("requirements-runtime.lock", "requirements-build.lock"):
        words = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "--dry-run",
            "--quiet",
            "--target",
            str(tmp_path),
        ]
        words += ["--python-version", version, "--python-platform", platform, "--only-binary", ":all:"]
        words += ["--require-hashes", "-r", str(ROOT / name)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_only_what_the_image_needs_goes_to_the_builder():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        word
        for stage in read(FILE)
        for step in stage.steps
        if step.word == "COPY" and not step.rest.startswith("--from")
        for word in step.rest.split()[:-1]
    }
    assert let_in == copied
    assert all((ROOT / name).exists() for name in let_in)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_its_steps_make_a_root_that_runs_read_only_as_nobody_and_serves(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to build in a root of its own")
    root = await asyncio.to_thread(build, read(FILE), ROOT, tmp_path / "roots")
    runtime, _hashes = pins("requirements-runtime.lock")
    assert await asyncio.to_thread(installed, root) <= {*map(canonical, runtime), "nymgate", "setuptools"}
    assert not list(root.path("/opt/nymgate/bin").glob("pip*"))
    data = root.path("/data")
    assert (data.stat().st_uid, data.stat().st_mode & 0o777) == (65532, 0o700)
    async with Localnet(LocalnetOptions(mode=Mode.PROCESSES)) as net:
        await runs(root, net)


def installed(root: Root) -> set[str]:
    program = "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))"
    command = root.command(["/opt/nymgate/bin/python", "-c", program], folder="/data", user=NOBODY)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {canonical(name) for name in json.loads(done.stdout)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def page():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def fetch(port: int, target: int) -> bytes:
    async with through(port, "localhost", target) as (reader, writer, reply):
        if reply != 0:
            return b""
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        return await reader.read()


def refused_writes(root: Root) -> int:
    words = ["/bin/sh", "-c", "touch /data/x /tmp/x /opt/nymgate/x"]
    command = root.command(words, folder="/data", user=NOBODY, read_only=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.count("Read-only file system")


def health(root: Root, environment: dict[str, str]) -> int:
    """The exit code of the image's health check, run as an engine runs it."""
    words = json.loads(image().last("HEALTHCHECK").partition(" CMD ")[2])
    command = root.command(words, folder="/data", user=NOBODY, read_only=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    return done.returncode


async def runs(root: Root, net: Localnet) -> None:
    """The image's own entry point, environment and user, on a read-only root."""
    stage = image()
    volume = root.path("/data")
    (volume / "net.toml").write_bytes((net.data_dir / "localnet.toml").read_bytes())
    port = free_port()
    environment = stage.environment() | {
        "NYMGATE_NETWORK": "/data/net.toml",
        "NYMGATE_LISTEN__MIXED": f"127.0.0.1:{port}",
        "NYMGATE_LISTEN__METRICS": f"127.0.0.1:{free_port()}",
        "NYMGATE_MIXNET__PROFILE": "uncovered",
    }
    words = [*stage.words("ENTRYPOINT"), *stage.words("CMD")]
    log = root.folder.parent / "log"
    site = await page()
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *root.command(words, folder="/data", user=NOBODY, read_only=True),
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        await until(lambda: process.returncode is not None or "ready" in log.read_text())
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\t65532\t65532\t65532\t65532$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
        assert await asyncio.to_thread(refused_writes, root) == 2
        async with site:
            assert (await fetch(port, site.sockets[0].getsockname()[1])).endswith(b"hello")
        assert await asyncio.to_thread(health, root, environment) == 0
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
        assert await asyncio.to_thread(health, root, environment) == 1
    except BaseException:
        print(log.read_text())
        raise
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert [found.name for found in volume.iterdir() if found.is_dir()]
