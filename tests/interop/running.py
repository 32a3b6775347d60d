"""Starts `nymgate run` as a user would: a process of its own with a configuration file."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from contextlib import asynccontextmanager
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def nymgate(folder: Path, *, nym_api: str, exit_address: str, profile: str, early: bool = False):
    """A running `nymgate run`; yields its SOCKS port and process."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "nymgate.toml"
    config.write_text(
        f'[listen]\nmixed = ["127.0.0.1:{port}"]\n'
        f'[mixnet]\nprofile = "{profile}"\nexit = "{exit_address}"\nnym_api = ["{nym_api}"]\n'
        'sleep_after = "never"\n[tickets]\nenabled = false\n'
        f"[streams]\nearly_success = {'true' if early else 'false'}\n"
    )
    log = folder / "nymgate.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "nymgate", "run", "--config", str(config), "--data-dir", str(folder / "data")),
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
        )
    try:
        await _listening(port, process, log)
        yield port, process
    finally:
        await _end(process)


async def _listening(port: int, process: Process, log: Path) -> None:
    for _ in range(600):
        if process.returncode is not None:
            break
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError(f"nymgate did not start:\n{log.read_text()[-2000:]}")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(15):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
