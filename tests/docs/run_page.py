"""Runs the commands of one page in a machine of its own: no network but loopback, no files of the user.

``python -m tests.docs.run_page PAGE FOLDER``. In there example.com and its kind are a web site on this loopback, so
that the commands of the page run as they stand. Fails at the first command that does not do what the page says.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import Command, blocks
from tests.docs.site import NAMES, site

LIMIT_SECONDS = 90.0
POLL_SECONDS = 0.1
# What stays in its terminal, and what it says when it is ready.
SERVERS = {
    "nymgate localnet up": ("Ctrl-C ends it", '"nym_api":'),
    "nymgate run": (": ready.", '"event": "ready"'),
    "python3 -m http.server": (),
}


class Shell:
    """The reader's shell: what one command exports, the next one has."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder, self.environ = folder, environ
        self.process = subprocess.Popen(
            ["bash", "--norc", "-s"],
            stdin=subprocess.PIPE,
            cwd=folder,
            env=environ,
            text=True,
            start_new_session=True,
        )
        self.count = 0

    def run(self, text: str, typed: str = "") -> tuple[int, str]:
        self.count += 1
        keyboard = self.folder / f".typed-{self.count}"
        keyboard.write_text(typed + "\n" if typed else "")
        output, done = self.folder / f".output-{self.count}", self.folder / f".done-{self.count}"
        assert self.process.stdin is not None
        self.process.stdin.write(
            f"{{ {text}\n}} >{output} 2>&1 <{keyboard}; echo $? >{done}.part; mv {done}.part {done}\n"
        )
        self.process.stdin.flush()
        deadline = time.monotonic() + LIMIT_SECONDS
        while not done.exists():
            if time.monotonic() > deadline or self.process.poll() is not None:
                return -1, output.read_text() if output.exists() else ""
            time.sleep(POLL_SECONDS)
        return int(done.read_text()), output.read_text()

    def exported(self) -> dict[str, str]:
        """What the shell hands to what it starts."""
        names = [name for name in ("NYMGATE_NETWORK", "NYMGATE_STORE__URL") if name not in self.environ]
        lines = self.run("; ".join(f'echo "{name}=${{{name}-}}"' for name in names))[1].splitlines()
        pairs = (line.partition("=") for line in lines)
        return {name: value for name, _, value in pairs if value}

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def server_of(command: Command) -> tuple[str, ...] | None:
    for words, ready in SERVERS.items():
        if command.text.startswith(words) and "--help" not in command.text:
            return ready
    return None


@contextlib.contextmanager
def started(command: Command, ready: tuple[str, ...], folder: Path, environ: dict[str, str]) -> Iterator[str]:
    """The command in a terminal of its own, from when it says that it is ready."""
    output = folder / f".server-{abs(hash(command.text))}"
    with output.open("w") as stream:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command.text}"],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=folder,
            env=environ,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not any(words in output.read_text() for words in ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command.text}: it did not get ready\n{output.read_text()}")
            if not ready:
                time.sleep(1.0)
                break
            time.sleep(POLL_SECONDS)
        yield output.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def hosts_file(folder: Path) -> None:
    """Names of the pages are names of this loopback, and no others are any."""
    hosts = folder / ".hosts"
    hosts.write_text("127.0.0.1 localhost " + " ".join(NAMES) + "\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)


def main(page: str, where: str) -> None:
    folder = Path(where)
    hosts_file(folder)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    environ = kept | {"HOME": str(folder), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    ran = 0
    with contextlib.ExitStack() as stack:
        environ |= stack.enter_context(site(folder))
        shell = Shell(folder, environ)
        stack.callback(shell.close)
        for block in blocks(Path(page).read_text(encoding="utf-8")):
            if block.reason is not None:
                continue
            for command in (*block.before, *block.commands):
                print(f"$ {command.text}", flush=True)
                ready = server_of(command)
                if ready is not None:
                    now = environ | shell.exported()
                    code, output = 0, stack.enter_context(started(command, ready, folder, now))
                else:
                    code, output = shell.run(command.text, block.typed)
                missing = command.missing(output)
                refused = command.refused
                if missing or (code != 0) != (refused is not None) or (refused or "") not in output:
                    print(output)
                    raise SystemExit(f"{command.text}: exit code {code}; the page also has {missing}")
                ran += 1
    shutil.rmtree(folder, ignore_errors=True)
    print(f"commands: {ran}")


if __name__ == "__main__":
    main(*sys.argv[1:])
