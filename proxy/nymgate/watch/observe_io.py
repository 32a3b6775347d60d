"""Takes snapshots of a running proxy: reads the counters of its parts, and times its event loop.

Identities come and go, and with them the objects that count; what they have counted is kept here, so that counters
never go back.
"""

import asyncio
import os
import platform
import resource
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from nym_mixnet.client_io import MixnetClient
from nym_mixnet.client_records import ACK_SECONDS_BOUNDS
from nymgate import __version__
from nymgate.listener.listener_io import FIRST_BYTE_BOUNDS_SECONDS
from nymgate.watch.health import Facts, Health, Probe, Trouble, ending, judge
from nymgate.watch.observe_money_io import MoneyView
from nymgate.watch.snapshot import (
    SHORT_SECONDS_BOUNDS,
    Costs,
    Exits,
    Histogram,
    Identities,
    Links,
    Packets,
    Probes,
    Process,
    Snapshot,
    Streams,
    Tally,
    gone,
    plus,
)
from nymgate.ways.sleep import Rest

if TYPE_CHECKING:
    from nymgate.daemon import Proxy
    from nymgate.exits.pool import ExitState
    from nymgate.watch.probe_io import Prober
    from nymgate.ways.identity_io import Connected, Identity

TICK_SECONDS: Final = 0.5
_PAGE_BYTES: Final = resource.getpagesize()
_REST: Final = {Rest.AWAKE: "awake", Rest.BUSY: "busy", Rest.ASLEEP: "asleep"}


class Observer:
    """Looks at one proxy. Run :meth:`tick_for_ever` in a task; it costs two wake-ups a second."""

    def __init__(self, proxy: "Proxy", *, clock: Callable[[], float] = time.time) -> None:
        """``clock``: Unix time."""
        self._proxy = proxy
        self._clock = clock
        self._started_unix = clock()
        self._lag = Tally(SHORT_SECONDS_BOUNDS)
        self._clients: dict[int, MixnetClient] = {}
        self._links_gone = Links()
        self._packets_gone = Packets()
        self._changes: dict[int, int] = {}
        self._changes_gone = 0
        self._awake_seconds = 0.0
        self._money = MoneyView(proxy.purse, self._may_ask, clock=clock) if proxy.purse is not None else None
        self.prober: Prober | None = None
        """What asks whether the way works; its results are part of the snapshot."""

    async def tick_for_ever(self) -> None:
        """Time the event loop, and notice identities before they are gone."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self._lag.add(max(0.0, loop.time() - due))
            awake = sum(way.sleeper.state is not Rest.ASLEEP for way in self._ways())
            self._awake_seconds += awake * (loop.time() - due + TICK_SECONDS)
            self._notice()

    async def watch_balance(self) -> None:
        """Ask for the account's balance every now and then, for ever."""
        if self._money is not None:
            await self._money.watch_balance()

    # ---- the whole ----------------------------------------------------------------------------------------

    async def snapshot(self) -> Snapshot:
        """Everything, now."""
        plan = self._proxy.plan
        self._notice()
        now = self._clock()
        money = await self._money.read() if self._money is not None else None
        costs = plan.profile.costs()
        prices = self._money.last_price if self._money is not None else None
        return Snapshot(
            taken_unix=now,
            started_unix=self._started_unix,
            version=__version__,
            python=platform.python_version(),
            network=plan.network.name,
            profile=plan.profile.name,
            listening=tuple(self._proxy.server.stats.listeners),
            health=self.health(),
            costs=Costs(costs.tickets_per_hour, costs.bytes_per_second * 3600, prices),
            money=money,
            links=self._links(),
            packets=self._packets(),
            streams=self._streams(),
            exits=self._exits(),
            identities=self._identities(),
            probes=self.prober.seen() if self.prober is not None else Probes(),
            process=_process(self._lag),
        )

    def health(self) -> Health:
        """The verdict on what is known now; asks nobody."""
        found = judge(self.facts())
        return ending(found) if self._proxy.server.draining else found

    def watched(self) -> "Identity":
        """The identity that the verdict is about: the default one, or while that sleeps one that carries streams."""
        default = self._proxy.identity
        if default.connected is None or default.connected.sleeper.state is not Rest.ASLEEP:
            return default
        for one in self._proxy.identities:
            if one.connected is not None and one.connected.sleeper.state is Rest.BUSY:
                return one
        return default

    def facts(self) -> Facts:
        """What the verdict is made of."""
        prober, identity = self.prober, self.watched()
        connected = identity.connected
        asleep = connected is not None and connected.sleeper.state is Rest.ASLEEP
        money = self._money
        return Facts(
            now_unix=self._clock(),
            link=connected.client.link_state.value if connected is not None else None,
            missing=identity.upstream.missing,
            asleep=asleep,
            pays=money is not None,
            supply=money.supply if money is not None else "ok",
            hindrance=money.hindrance() if money is not None else None,
            refusing=money.refusing if money is not None else False,
            ticket=self._ticket_trouble(identity),
            clock=money.clock_trouble() if money is not None else None,
            loop=prober.loop if prober is not None else Probe(),
            exit=prober.exit if prober is not None else Probe(),
            target_failures=identity.upstream.target_failures,
        )

    @staticmethod
    def _ticket_trouble(identity: "Identity") -> Trouble | None:
        trouble = getattr(identity.spender, "trouble", None)
        if trouble is None:
            return None
        return Trouble(trouble.layer, trouble.code, trouble.what, trouble.todo)

    def _may_ask(self) -> bool:
        """Whether a question that goes through the mixnet would wake nobody."""
        connected = self._proxy.connected
        return connected is not None and connected.sleeper.state is not Rest.ASLEEP

    # ---- the parts ----------------------------------------------------------------------------------------

    def _ways(self) -> "list[Connected]":
        return [one.connected for one in self._proxy.identities if one.connected is not None]

    def _notice(self) -> None:
        """Keep what clients have counted that are gone, and know those that are there."""
        there = {id(way.client): way.client for way in self._ways()}
        for key in self._clients.keys() - there.keys():
            client = self._clients[key]
            self._links_gone = plus(self._links_gone, gone(_links_of(client)))
            self._packets_gone = plus(self._packets_gone, gone(_packets_of(client)))
            self._changes_gone += self._changes.pop(key, 0)
        self._clients = there

    def _links(self) -> Links:
        total = self._links_gone
        for client in self._clients.values():
            total = plus(total, _links_of(client))
        return total

    def _packets(self) -> Packets:
        total = self._packets_gone
        for client in self._clients.values():
            total = plus(total, _packets_of(client))
        return total

    def _streams(self) -> Streams:
        server = self._proxy.server
        stats = server.stats
        return Streams(
            open=stats.streams,
            waiting=server.gate.admission.waiting,
            connections=server.open_connections,
            accepted={name: listening.accepted for name, listening in stats.listeners.items()},
            ended={name: dict(listening.ended) for name, listening in stats.listeners.items()},
            bytes_up=stats.bytes_up,
            bytes_down=stats.bytes_down,
            first_byte_seconds=Histogram.of(
                FIRST_BYTE_BOUNDS_SECONDS, stats.first_byte.counts, stats.first_byte.sum_seconds
            ),
        )

    def exits(self) -> "list[ExitState]":
        """The exits of all identities, as each knows them."""
        return [state for way in self._ways() for state in getattr(way.exit, "exits", list)()]

    def _exits(self) -> Exits:
        states: dict[str, int] = {}
        for way in self._ways():
            pool: Any = way.exit
            listed = getattr(pool, "exits", None)
            if listed is None:  # one exit and no choice
                states["in_use"] = states.get("in_use", 0) + 1
                continue
            for state in listed():
                name = state.state.replace(" ", "_")
                states[name] = states.get(name, 0) + 1
            self._changes[id(way.client)] = pool.stats.changes
        return Exits(states, self._changes_gone + sum(self._changes.values()))

    def _identities(self) -> Identities:
        states: dict[str, int] = {}
        for identity in self._proxy.identities:
            way = identity.connected
            name = "connecting" if way is None else _REST[way.sleeper.state]
            states[name] = states.get(name, 0) + 1
        return Identities(states, self._awake_seconds, self._proxy.identities.made)


def _links_of(client: MixnetClient) -> Links:
    stats = client.link_stats
    if stats is None:
        return Links(states={client.link_state.value: 1})
    left = stats.remaining_bandwidth
    return Links(
        states={client.link_state.value: 1},
        allowance_bytes=left or 0,
        allowance_lowest_bytes=left,
        bytes_charged=stats.bytes_charged,
        bytes_bought=stats.bytes_claimed,
        claims=stats.claims,
        claims_failed=stats.claims_failed,
        sessions=stats.sessions,
        reconnects=stats.reconnects,
        packets_refused=stats.packets_refused,
        failures=dict(stats.failures),
    )


def _packets_of(client: MixnetClient) -> Packets:
    core, stats = client.core, client.stats
    answers = stats.acks_received + stats.cover_received + stats.replies_received
    banks = core.banks.recipients()
    return Packets(
        sent_first=stats.sent_real - stats.sent_retransmissions,
        sent_again=stats.sent_retransmissions,
        sent_cover=stats.sent_cover,
        sent_surb_supply=stats.sent_surb_supply,
        empty_slots=stats.empty_slots,
        lost=stats.packets_lost,
        received_acks=stats.acks_received,
        received_cover=stats.cover_received,
        received_replies=stats.replies_received,
        received_other=max(0, stats.frames_received - answers - stats.undecodable - stats.unknown_lengths),
        undecodable=stats.undecodable + stats.unknown_lengths,
        queued=core.queued,
        in_flight=core.in_flight,
        ack_seconds=Histogram.of(ACK_SECONDS_BOUNDS, stats.ack_seconds_counts, stats.ack_seconds_sum),
        surbs_made=stats.surbs_made,
        surbs_supplied=sum(core.reply_keys.stock(recipient) for recipient in banks),
        surbs_wanted=sum(core.banks.get(recipient).target for recipient in banks),
    )


def _process(lag: Tally) -> Process:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * _PAGE_BYTES
        files = len(os.listdir("/proc/self/fd"))
    except OSError:  # no such thing on this system
        resident = files = 0
    return Process(lag.seen(), time.process_time(), resident, files)
