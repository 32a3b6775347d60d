"""Asks exits for themselves, over the mixnet: `nymgate exits --probe`.

With an identity of its own in a temporary folder, so that it neither disturbs a running proxy nor is linked with it.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import Recipient
from nymgate import wiring
from nymgate.errors import NetworkUnreachable
from nymgate.exits.choice import ANYWHERE, ExitCandidate
from nymgate.exits.listing import Probed
from nymgate.exits.pool import ExitRecord
from nymgate.exits.roster_io import Roster
from nymgate.ways.identity_io import Identity

CONNECT_SECONDS: Final = 90.0
AT_ONCE: Final = 4


async def probe_exits(plan: wiring.Plan, exits: Sequence[ExitCandidate]) -> dict[Recipient, Probed]:
    """What each of these says; those at the gateway that is the entry here are left out.

    Costs about twelve packets for each. Raises NetworkUnreachable if there is no way into the mixnet.
    """
    plan = replace(plan, exit=None, exit_wish=ANYWHERE)
    with tempfile.TemporaryDirectory(prefix="nymgate-probe-") as folder:
        identity = Identity(plan, Path(folder))
        identity.start()
        try:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    connected = await identity.ready()
            except TimeoutError:
                layer, reason = identity.upstream.missing
                raise NetworkUnreachable(
                    f"There is no way into the mixnet to ask by: {reason}.",
                    "Leave --probe away for what the directory says.",
                    layer=layer,
                ) from None
            return await _ask_all(connected.exit.roster, exits, connected.entry.identity)
        finally:
            await identity.close(hurry=True)


async def _ask_all(roster: Roster, exits: Sequence[ExitCandidate], entry: bytes) -> dict[Recipient, Probed]:
    said: dict[Recipient, Probed] = {}
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(exit_: ExitCandidate) -> None:
        async with turns:
            member = roster.member(ExitRecord(exit_))
            alive = await roster.ask(member)
            if alive:
                await member.read_policy()
            if alive is not None:  # our own link was up
                said[exit_.recipient] = Probed(alive, member.record.latency, member.record.policy)

    async with TaskSet("probes") as tasks:
        for exit_ in exits:
            if exit_.recipient.gateway != entry:
                tasks.spawn(ask(exit_), name="probe")
        await tasks.wait()
    return said
