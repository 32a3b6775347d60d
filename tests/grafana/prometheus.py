"""A real Prometheus over one proxy, for as long as a test runs."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from grafana import build

LIMIT_SECONDS = 120.0


@dataclass
class Prometheus:
    """Its HTTP API."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **parameters: str) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            said = await response.json()
            assert said["status"] == "success", said
            return said["data"]

    async def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """(labels, value) of every series, those that are not a number left out."""
        found = (await self.get("query", query=expr))["result"]
        values = [(entry["metric"], float(entry["value"][1])) for entry in found]
        return [(labels, value) for labels, value in values if not math.isnan(value)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configuration(folder: Path, target: tuple[str, int], scrape: str) -> Path:
    """Ours, with another target, another pace, and our rules beside it."""
    said = yaml.safe_load((build.FOLDER / "prometheus/prometheus.yaml").read_text())
    said["global"] = {"scrape_interval": scrape, "evaluation_interval": scrape}
    said["scrape_configs"][0]["static_configs"][0]["targets"] = [f"{target[0]}:{target[1]}"]
    shutil.copytree(build.FOLDER / "rules", folder / "rules")
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(said))
    return path


@contextlib.asynccontextmanager
async def watching(folder: Path, target: tuple[str, int], scrape: str = "1s") -> AsyncIterator[Prometheus]:
    """Prometheus, up and scraping that address."""
    assert shutil.which("prometheus"), "needs Prometheus"
    folder.mkdir()
    port = free_port()
    words = ["prometheus", f"--config.file={configuration(folder, target, scrape)}"]
    words += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    log = folder / "log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(*words, stdout=written, stderr=subprocess.STDOUT)
    try:
        async with aiohttp.ClientSession() as session:
            prometheus = Prometheus(f"http://127.0.0.1:{port}", session)
            async with asyncio.timeout(LIMIT_SECONDS):
                while True:
                    assert process.returncode is None, log.read_text()
                    with contextlib.suppress(aiohttp.ClientError, KeyError):
                        if any(value == 1 for _labels, value in await prometheus.query('up{job="nymgate"}')):
                            break
                    await asyncio.sleep(0.2)
            yield prometheus
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
