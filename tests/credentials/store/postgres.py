"""A real PostgreSQL server in a temporary folder, run by somebody who is not root: it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest

PROGRAMS: Final = ("initdb", "postgres")
_USERS: Final = ("postgres", "nobody")
_SOCKET: Final = ".s.PGSQL.5432"
_START_SECONDS: Final = 60


def find_programs() -> Path | None:
    """The folder with the server's programs: Debian keeps them out of PATH."""
    places = [Path(place) for place in os.environ.get("PATH", "").split(os.pathsep)]

    def version(place: Path) -> float:
        found = re.search(r"/postgresql/(\d+(?:\.\d+)?)/", str(place))
        return float(found[1]) if found else 0.0

    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)
    for place in (*debian, *places):
        if all(os.access(place / program, os.X_OK) for program in PROGRAMS):
            return place
    return None


def _identity() -> dict[str, Any]:
    """Whom the server runs as: us, or somebody harmless if we are root."""
    if os.geteuid() != 0:
        return {}
    for name in _USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("there is no user to run PostgreSQL as")


@dataclass
class Server:
    """A running server; `database` makes databases in it."""

    programs: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The cluster."""
        return self.folder / "data"

    def url(self, database: str) -> str:
        """For `TicketStore.open`."""
        return f"postgresql+asyncpg://nymgate@/{database}?host={self.folder}"

    def run(self, program: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """One of PostgreSQL's programs to its end, as the server's user."""
        return subprocess.run(
            [self.programs / program, *arguments],
            check=True,
            capture_output=True,
            timeout=_START_SECONDS,
            cwd=self.folder,
            **_identity(),
            **more,
        )

    def create(self) -> None:
        """The cluster."""
        self.run(
            "initdb", "-D", str(self.data), "-A", "trust", "-U", "nymgate", "-E", "UTF8", "--locale=C", "-N"
        )

    def start(self) -> None:
        """Returns when the server takes connections."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "100",
            "shared_buffers": "16MB",
            "fsync": "off",  # the machine itself must not crash
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **_identity(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.02)

    def _ready(self) -> bool:
        status = self.data / "postmaster.pid"
        try:
            return status.read_text().rstrip().endswith("ready")
        except OSError:
            return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: in order. SIGQUIT: as if it crashed."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(_START_SECONDS)
            self.process = None

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """As the owner of everything."""
        return await asyncpg.connect(host=str(self.folder), user="nymgate", database=database)

    async def database(self, template: str = "template0") -> str:
        """The name of a new database."""
        name = f"t{uuid4().hex}"
        connection = await self.connect()
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        finally:
            await connection.close()
        return name

    async def backends(self, database: str) -> list[int]:
        """The processes that serve connections to a database."""
        connection = await self.connect()
        try:
            rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE datname = $1", database)
            return [int(row["pid"]) for row in rows]
        finally:
            await connection.close()

    async def terminate(self, database: str) -> int:
        """Cuts every connection to a database; returns how many there were."""
        connection = await self.connect()
        try:
            return int(
                await connection.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = $1 AND pid <> pg_backend_pid()",
                    database,
                )
            )
        finally:
            await connection.close()

    async def cut_one(self, database: str, dice: random.Random) -> int:
        """Cuts one connection to a database; returns how many it were."""
        connection = await self.connect()
        try:
            pids = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'",
                database,
            )
            if not pids:
                return 0
            victim = dice.choice(pids)["pid"]
            return int(await connection.fetchval("SELECT pg_terminate_backend($1)", victim))
        finally:
            await connection.close()


@contextmanager
def postgres_server() -> Iterator[Server]:
    """Skips the test where there is no PostgreSQL."""
    programs = find_programs()
    if programs is None:
        pytest.skip("needs program: postgres")
    # Where everybody may look, and short: the name of a socket has to fit into 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    try:
        if identity := _identity():
            os.chown(folder, identity["user"], identity["group"])
        server = Server(programs, folder)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
