"""A worker of `nymgate run --workers`: what its parent starts, with a socket to it and nothing else to say.

Not a command: the number of that socket is its only argument, and its orders come over it (``workers``).
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from nymgate.cli.app import as_ours
from nymgate.cli.run import ready_facts, run_loop
from nymgate.config_layers import data_dir, load
from nymgate.errors import ExitCode
from nymgate.logs import configure_from
from nymgate.workers import Failed, News, Orders, Up, encode_news, worker_config, worker_plan

if TYPE_CHECKING:
    from nymgate.config import Config


def main() -> int:
    """Run until told to stop. Returns the exit code."""
    # Until signals are understood: whoever asks for another reading of the configuration gets one now.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as lifeline:
        lifeline.set_inheritable(False)
        with lifeline.makefile("rb") as file:
            line = file.readline()
        if not line:
            return ExitCode.DONE  # the parent is gone already
        orders = Orders.decode(line)
        structlog.contextvars.bind_contextvars(worker=orders.number)
        try:
            work(orders, lifeline)
        except Exception as error:
            say(lifeline, Failed.of(as_ours(error)))
            structlog.get_logger("nymgate.workers").error("worker.failed", reason=str(as_ours(error)))
            return as_ours(error).exit_code
        return ExitCode.DONE


def say(lifeline: socket.socket, news: News) -> None:
    """Tell the parent, if it still listens."""
    with contextlib.suppress(OSError):
        lifeline.setblocking(True)
        lifeline.sendall(encode_news(news))
        lifeline.setblocking(False)


def work(orders: Orders, lifeline: socket.socket) -> None:
    """The proxy, until it ends."""
    from nymgate import daemon, wiring
    from nymgate.workers_io import shared_listeners

    def read() -> "Config":
        file = Path(orders.config_file) if orders.config_file is not None else None
        return load(file=file, flags=orders.flags).config

    config = read()
    configure_from(config.log)
    plan = worker_plan(wiring.make_plan(config, data_dir(config, os.environ)), orders.number, orders.count)

    def up() -> None:
        lifeline.setblocking(False)
        asyncio.get_running_loop().add_reader(lifeline, orphaned)
        say(lifeline, Up())

    def orphaned() -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        os.kill(os.getpid(), signal.SIGTERM)

    run_loop(
        daemon.run(
            plan,
            announce=lambda proxy, connected, stock: say(lifeline, ready_facts(connected, stock)),
            reread=lambda: worker_config(read()),
            listeners=shared_listeners(orders.sockets),
            up=up,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
