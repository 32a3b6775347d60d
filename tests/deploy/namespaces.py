"""Network namespaces as machines: made, joined by cables, and given programs to run. Needs root and iproute2."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

LIMIT_SECONDS = 90
_numbers = itertools.count()


def needed() -> None:
    """Skip where namespaces cannot be had."""
    if shutil.which("ip") is None:
        pytest.skip("needs program: ip")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS)


class Program:
    """A running program and what it has said so far."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said = ""
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.said += line
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, words: str) -> str:
        """Until it has said that; all that it has said."""
        with self._news:
            self._news.wait_for(lambda: words in self.said or self._ended, LIMIT_SECONDS)
            assert words in self.said, f"it never said {words!r}:\n{self.said}"
            return self.said

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join(LIMIT_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


class Machine:
    """One namespace; gone at the end of the ``with``, with what still runs in it."""

    def __init__(self, label: str, hosts: Path | None = None) -> None:
        self.name = f"ng{os.getpid()}-{next(_numbers)}{label}"
        self._hosts = hosts
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in reversed(self._programs):
            program.stop()
        if kind is not None:
            for program in self._programs:
                print(program.said)
        ip("netns", "del", self.name)

    def _words(self, program: list[str], user: int, peek: bool) -> list[str]:
        words = ["ip", "netns", "exec", self.name]
        if self._hosts is not None:
            words += ["sh", "-c", f'mount --bind {self._hosts} /etc/hosts && exec "$@"', "sh"]
        if user:
            words += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
            # The interpreter of the tests may be in a folder that only root may enter; reading is all this adds.
            caps = "-all,+dac_read_search" if peek else "-all"
            words += [f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}"]
        return words + program

    def start(
        self, program: list[str], environment: dict[str, str] | None = None, *, user: int = 0
    ) -> Program:
        started = Program(self._words(program, user, peek=True), _base() | (environment or {}))
        self._programs.append(started)
        return started

    def run(self, program: list[str], *, user: int = 0) -> subprocess.CompletedProcess[str]:
        """As nobody in particular unless said otherwise, and without any capability then."""
        words = self._words(program, user, peek=False)
        return subprocess.run(
            words, env=_base(), capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )


def _base() -> dict[str, str]:
    return {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}


def cable(one: Machine, one_address: str, other: Machine, other_address: str) -> None:
    """A line between two machines, each with its address and prefix."""
    number = next(_numbers)
    names = f"v{os.getpid()}a{number}"[-15:], f"v{os.getpid()}b{number}"[-15:]
    ip(
        "link",
        "add",
        names[0],
        "netns",
        one.name,
        "type",
        "veth",
        "peer",
        "name",
        names[1],
        "netns",
        other.name,
    )
    for machine, name, address in ((one, names[0], one_address), (other, names[1], other_address)):
        ip("-n", machine.name, "address", "add", address, "dev", name)
        ip("-n", machine.name, "link", "set", name, "up")


@contextlib.contextmanager
def open_folder(user: int = 0) -> Iterator[Path]:
    """A folder that other users can get to, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="nymgate-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        if user:
            os.chown(path, user, user)
        yield path
