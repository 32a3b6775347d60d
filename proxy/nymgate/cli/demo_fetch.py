"""The application of the demo: curl with a SOCKS setting, or where there is no curl a few lines in its place."""

import asyncio
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nymgate.errors import DemoFailed

POLL_SECONDS: Final = 0.1
FETCH_SECONDS: Final = 100.0
_PIECE_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Fetched:
    """One download; times in seconds since its start."""

    size: int
    sha256: str
    first_byte: float
    total: float

    def as_dict(self) -> dict[str, object]:
        """For --json."""
        return {
            "bytes": self.size,
            "sha256": self.sha256,
            "first_byte_seconds": round(self.first_byte, 3),
            "seconds": round(self.total, 3),
        }


class Fetcher:
    """Downloads through the proxy on a port of loopback."""

    def __init__(self, proxy_port: int, curl: str | None) -> None:
        self._port = proxy_port
        self._curl = curl
        self.tool = "curl" if curl else "a built-in client"

    @classmethod
    def best(cls, proxy_port: int) -> "Fetcher":
        """With curl if there is one."""
        return cls(proxy_port, shutil.which("curl"))

    def describe(self) -> str:
        """What stands in for an application."""
        if self._curl:
            return f"fetching with curl --socks5-hostname 127.0.0.1:{self._port}"
        return "curl is not installed: fetching with a small client of our own instead"

    async def fetch(
        self, urls: Sequence[str], folder: Path, progress: Callable[[int], None] | None = None
    ) -> list[Fetched]:
        """All at once, each into a file of the folder. ``progress`` gets the bytes of the first so far."""
        files = _places(folder, len(urls))
        work = self._by_curl(urls, files) if self._curl else self._by_hand(urls, files)
        async with asyncio.TaskGroup() as group:
            done = group.create_task(work)
            while progress is not None and not done.done():
                progress(_size(files[0]))
                await asyncio.sleep(POLL_SECONDS)
        times = done.result()
        return [
            Fetched(file.stat().st_size, _sha256(file), *pair)
            for file, pair in zip(files, times, strict=True)
        ]

    async def _by_curl(self, urls: Sequence[str], files: Sequence[Path]) -> list[tuple[float, float]]:
        assert self._curl is not None
        command = [self._curl, "--disable", "--silent", "--show-error", "--fail", "--no-buffer", "--parallel"]
        command += ["--socks5-hostname", f"127.0.0.1:{self._port}", "--max-time", f"{FETCH_SECONDS:.0f}"]
        command += ["--noproxy", "", "--write-out", "%{json}\n"]
        for url, file in zip(urls, files, strict=True):
            command += ["--output", str(file), url]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            output, errors = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            said = errors.decode(errors="replace").strip()
            raise DemoFailed(f"curl ended with code {process.returncode}: {said}.", "Run again with -v.")
        times = {
            told["filename_effective"]: (told["time_starttransfer"], told["time_total"])
            for told in map(json.loads, output.splitlines())
        }
        return [times[str(file)] for file in files]

    async def _by_hand(self, urls: Sequence[str], files: Sequence[Path]) -> list[tuple[float, float]]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(url, file)) for url, file in zip(urls, files, strict=True)]
        return [task.result() for task in tasks]

    async def _one(self, url: str, file: Path) -> tuple[float, float]:
        """SOCKS5 and HTTP/1.0, no more of both than this needs."""
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode(), parts.port or 80
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(
                b"\x05\x01\x00\x05\x01\x00\x03" + bytes((len(host),)) + host + port.to_bytes(2, "big")
            )
            answer = await reader.readexactly(12)
            if answer[3] != 0:
                raise DemoFailed(f"The proxy answered with code {answer[3]}.", "Run again with -v.")
            writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            first = time.monotonic() - started
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise DemoFailed("The web server did not answer 200.", "Run again with -v.")
            with file.open("wb") as out:
                while data := await reader.read(_PIECE_BYTES):
                    out.write(data)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise DemoFailed(
                f"The connection broke off ({type(error).__name__}).", "Run again with -v."
            ) from error
        finally:
            writer.close()
        return first, time.monotonic() - started


def _places(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    return [folder / str(number) for number in range(count)]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
