"""Asks whether the way works: our own packet through the mixnet and back, and a question to the exit.

Only while the client is awake, and only for what other traffic has not just shown: with cover traffic its own packets
come back all the time, and an exit that sends data is alive. What it costs without any traffic: one packet and its ack,
and one to four packets for the exit's answer, every eight seconds awake, which is about one percent of what the
``standard`` profile sends, and takes slots of it. Asleep nothing is asked: the link to the gateway shows by itself.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from nym_exit.errors import ExitError
from nym_mixnet.errors import MixnetError
from nym_mixnet.lanes import Lane
from nym_mixnet.link_state import LinkState
from nymgate.watch.health import Probe
from nymgate.watch.snapshot import Probes
from nymgate.ways.sleep import Rest

if TYPE_CHECKING:
    from nym_mixnet.client_io import MixnetClient
    from nym_mixnet.client_records import ClientStats
    from nym_mixnet.outgoing import Sending
    from nymgate.ways.identity_io import Connected

log = structlog.get_logger("nymgate.health")

EVERY_SECONDS: Final = 8.0
AGAIN_SECONDS: Final = 1.0
"""After a silence it is asked again so soon: one lost packet is no fault, and what was mended shall show."""
LIMIT_SECONDS: Final = 5.0
"""A packet that is lost is sent again after 1.6 s, so there are three attempts in this."""
JUMP_SECONDS: Final = 5.0
"""A clock that jumps by more than that is compared with the network's at once."""


class Prober:
    """Asks for as long as :meth:`run` runs; the answers are in ``loop`` and ``exit``."""

    def __init__(
        self,
        way: "Callable[[], Connected | None]",
        *,
        clock: Callable[[], float] = time.time,
        every_seconds: float = EVERY_SECONDS,
        again_seconds: float = AGAIN_SECONDS,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """``way``: the one that streams take; None while there is none. ``clock``: Unix time."""
        self._way = way
        self._clock = clock
        self._every = every_seconds
        self._again = again_seconds
        self._limit = limit_seconds
        self.loop = Probe()
        """Our own packets through the mixnet."""
        self.exit = Probe()
        """The exit that is in use."""
        self._asked = {"loop": 0, "exit": 0}
        self._unanswered = {"loop": 0, "exit": 0}
        self._heard = 0
        self._heard_exit = 0
        self._offset: float | None = None
        """Of the clock, against the one of the event loop, which cannot be set."""
        self._client: object = None

    def seen(self) -> Probes:
        """For a snapshot."""
        return Probes(dict(self._asked), dict(self._unanswered), self.loop.seconds, self.exit.seconds)

    async def run(self) -> None:
        """For ever."""
        while True:
            way = self._way()
            pause = self._again
            if way is not None:
                self._forget_other(way)
                await self._look_at_clock(way)
                if self._awake(way):
                    await self.look(way)
                if not (self.loop.failures or self.exit.failures) and self.loop.answered_unix is not None:
                    pause = self._every
            await asyncio.sleep(pause)

    async def look(self, way: "Connected") -> None:
        """Look at the mixnet, and if that works at the exit."""
        await self._look_at_mixnet(way.client)
        if not self.loop.failures and self._awake(way):
            await self._look_at_exit(way)

    def _awake(self, way: "Connected") -> bool:
        return way.client.link_state is LinkState.READY and way.sleeper.state is not Rest.ASLEEP

    def _forget_other(self, way: "Connected") -> None:
        """What was found out over another client says nothing of this one."""
        if self._client is not way.client:
            self._client = way.client
            self.loop, self.exit = Probe(), Probe()
            self._heard = self._heard_exit = 0

    # ---- the mixnet ---------------------------------------------------------------------------------------

    async def _look_at_mixnet(self, client: "MixnetClient") -> None:
        stats = client.stats
        fresh = self._hears(stats) > self._heard
        self._heard = self._hears(stats)
        if fresh and not self.loop.failures and self.loop.answered_unix is not None:
            self.loop = self.loop.answered(self._clock(), stats.ack_seconds_smoothed or None)
            return
        self._asked["loop"] += 1
        seconds = await self._round(client)
        self._heard = self._hears(stats)  # the answer to a question is no news for the next one
        if seconds is not None:
            self.loop = self.loop.answered(self._clock(), seconds)
        elif client.link_state is LinkState.READY and not client.core.paused:
            self._unanswered["loop"] += 1
            self.loop = self.loop.failed(self._clock(), f"nothing in {self._limit:g} s")
            self._say("mixnet", self.loop)

    @staticmethod
    def _hears(stats: "ClientStats") -> int:
        """Packets of ours that came all the way back."""
        return stats.acks_received + stats.cover_received

    async def _round(self, client: "MixnetClient") -> float | None:
        """Send ourselves a message and wait for its ack; seconds, or None if none came."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        acked: asyncio.Future[bool] = loop.create_future()

        def done(sending: "Sending") -> None:
            if not acked.done():
                acked.set_result(sending.acked)

        try:
            sending = await client.send_plain(client.address, b"", lane=Lane.PROBE)
            sending.add_done_callback(done)
            async with asyncio.timeout(self._limit):
                return loop.time() - started if await acked else None
        except (MixnetError, TimeoutError):
            return None
        finally:
            client.close_lane(Lane.PROBE)

    # ---- the exit -----------------------------------------------------------------------------------------

    async def _look_at_exit(self, way: "Connected") -> None:
        exit_: Any = way.exit
        heard = way.client.stats.replies_received
        fresh, self._heard_exit = heard > self._heard_exit, heard
        if fresh and not self.exit.failures and self.exit.answered_unix is not None and way.exit.streams:
            self.exit = self.exit.answered(self._clock(), None)
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._asked["exit"] += 1
        ask = getattr(exit_, "health", None) or exit_.binary_info
        try:
            async with asyncio.timeout(self._limit):
                await ask()
            self._heard_exit = way.client.stats.replies_received
        except (ExitError, MixnetError, TimeoutError):
            if self._awake(way):
                self._unanswered["exit"] += 1
                self.exit = self.exit.failed(self._clock(), f"nothing in {self._limit:g} s")
                self._say("exit", self.exit)
        else:
            self.exit = self.exit.answered(self._clock(), loop.time() - started)

    def _say(self, layer: str, probe: Probe) -> None:
        if probe.failures == 2:
            log.warning("probe.silent", layer=layer, reason=probe.why)

    # ---- the clock ----------------------------------------------------------------------------------------

    async def _look_at_clock(self, way: "Connected") -> None:
        """A clock that was set meanwhile, or a machine that slept: see whether the directory agrees."""
        offset = self._clock() - asyncio.get_running_loop().time()
        before, self._offset = self._offset, offset
        if before is not None and abs(offset - before) > JUMP_SECONDS:
            log.info("clock.jumped", seconds=round(offset - before, 1))
            await way.client.refresh_topology()
