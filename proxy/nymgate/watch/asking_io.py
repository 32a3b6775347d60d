"""Asks a running proxy of this machine: by the control socket in its data folder, or by its port for metrics.

For commands and for the parent of workers; synchronous and without libraries: `nymgate healthcheck` has to start fast.
"""

import http.client
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nymgate.errors import NetworkUnreachable
from nymgate.listener.unix_socket import NAME, socket_path
from nymgate.units import join_address

LIMIT_SECONDS: Final = 5.0
MOST_BYTES: Final = 16 << 20


class NotRunning(NetworkUnreachable):
    """Nobody answers there."""

    code = "E_NOT_RUNNING"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"No running nymgate answers at {where}: {why}.",
            "Start it with `nymgate run`, or name its configuration with --config or --data-dir.",
            layer="proxy",
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, folder: Path, limit_seconds: float) -> None:
        super().__init__("localhost", timeout=limit_seconds)
        self._folder = folder

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with socket_path(self._folder) as path:
            self.sock.connect(path)


def ask_folder(folder: Path, path: str, *, limit_seconds: float = LIMIT_SECONDS) -> Answer:
    """GET over the control socket of the proxy with that data folder. Raises NotRunning."""
    return _get(_UnixConnection(folder, limit_seconds), path, str(folder / NAME))


def ask_port(host: str, port: int, path: str, *, limit_seconds: float = LIMIT_SECONDS) -> Answer:
    """GET from the port for metrics. Raises NotRunning."""
    return _get(
        http.client.HTTPConnection(host, port, timeout=limit_seconds),
        path,
        f"http://{join_address(host, port)}",
    )


def _get(connection: http.client.HTTPConnection, path: str, where: str) -> Answer:
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read(MOST_BYTES))
    except (OSError, http.client.HTTPException) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise NotRunning(where, why or str(error) or type(error).__name__) from error
    finally:
        connection.close()
