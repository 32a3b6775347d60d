"""A worker process of the test network: `python -m nym_localnet.worker`, commands on standard input.

It hosts the nodes that its parent tells it to and ends when the input does, that is also when the parent
dies in whatever way. Standard output belongs to the answers; logs go to standard error.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
from typing import Any

from nym_localnet.control import MAX_LINE_BYTES, Answer, Command
from nym_localnet.host_io import HostSettings, NodeHost
from nym_localnet.plan import NodePlan

logger = logging.getLogger(__name__)


async def perform(host: NodeHost, command: Command) -> Any:
    """Carry out one command; the result is plain values."""
    args = command.args
    match command.do:
        case "start":
            ports = await host.start([NodePlan.from_json(plan) for plan in args["plans"]])
            return {name: [each.mix, each.websocket] for name, each in ports.items()}
        case "start_exit":
            plan = NodePlan.from_json(args["plan"])
            return await host.start_exit(plan, args["nym_api_url"], bytes.fromhex(args["gateway_identity"]))
        case "restart":
            return await host.restart(args["name"])
        case "rotate":
            return await host.rotate(args["rotation_id"])
        case "refresh":
            return await host.refresh()
        case "counters":
            return await host.counters(args["name"])
        case "set_faults":
            return host.set_faults(args["name"], args["changes"])
        case _:
            raise ValueError(f"unknown command {command.do!r}")


async def answer(host: NodeHost, command: Command) -> Answer | None:
    """Carry out a command; the answer if one is wanted. No error ends the worker."""
    result, error = None, None
    try:
        result = await perform(host, command)
    except Exception as failure:
        logger.exception("%s failed", command.do)
        error = f"{type(failure).__name__}: {failure}"
    return None if command.id is None else Answer(command.id, result, error)


async def serve(lines: asyncio.StreamReader) -> None:
    """Read commands until the input ends. They are carried out one after the other."""
    settings = HostSettings.from_json(json.loads(await lines.readline()))
    host = NodeHost(settings)
    try:
        while line := await lines.readline():
            reply = await answer(host, Command.decode(line))
            if reply is not None:
                os.write(1, reply.encode())
    finally:
        await host.close()


async def main() -> None:
    """Connect standard input and serve."""
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    try:
        await serve(reader)
    finally:
        transport.close()


def run() -> None:
    """Entry point of the process."""
    logging.basicConfig(level=os.environ.get("NYM_LOCALNET_LOG", "WARNING").upper(), stream=sys.stderr)
    gc.freeze()
    try:
        import uvloop
    except ImportError:  # not on every platform
        asyncio.run(main())
    else:
        uvloop.run(main())


if __name__ == "__main__":
    run()
