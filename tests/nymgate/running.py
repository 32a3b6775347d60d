"""`nymgate run` as a process of its own, for tests that send it signals."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field

PROXY = re.compile(r"socks5h://127\.0\.0\.1:(\d+)")
START_SECONDS = 90.0


@dataclass
class Running:
    """The process, and what it said so far."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    async def says(self, pattern: str, since: int = 0) -> re.Match[str]:
        """Wait for a line, or find one that was said already."""
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    for line in self.lines[since:]:
                        if match := re.search(pattern, line):
                            return match
                    if self.process.returncode is not None:
                        raise AssertionError(f"ended without saying {pattern}:\n{self.said}")
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"{pattern} was never said:\n{self.said}") from None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> int:
        """The exit code."""
        async with asyncio.timeout(START_SECONDS):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def running(folder, *arguments, ready=True, environ=None):
    """Run with these arguments; it is killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nymgate", "run", "--data-dir", str(folder / "data"), *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "NYMGATE_LISTEN__WEB": ""} | (environ or {}),
    )
    run = Running(process)

    async def listen():
        async for line in process.stdout:
            run.lines.append(line.decode().rstrip())
            run.news.set()
        await process.wait()
        run.news.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        try:
            if ready:
                run.port = int((await run.says(PROXY.pattern))[1])
            yield run
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
