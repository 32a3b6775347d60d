"""One mixnet identity: keys of its own in a folder of its own, a client, an exit, and the sleep between uses.

While there is no way (directory, gateway or exit out of reach), streams are refused with the layer that is missing
and the way is tried again for ever. Only what trying again cannot mend ends the attempts: wrong configuration, a
data folder that another instance holds.
"""

import asyncio
import math
import random
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import structlog

from nym_exit.errors import ExitError
from nym_mixnet.client_io import MixnetClient
from nym_mixnet.errors import MixnetError
from nym_mixnet.link_state import LinkState
from nym_mixnet.store_io import ClientStore
from nym_mixnet.tasks_io import TaskSet
from nym_mixnet.topology import RoutingNode, Topology
from nym_mixnet.topology_io import FileSource, NymApiSource
from nym_sphinx import SYSTEM_RNG, Recipient, b58encode
from nymgate import wiring
from nymgate.errors import DependencyFailed, ExitCode, NetworkUnreachable, NoUsableExit, NymgateError
from nymgate.exits.choice import (
    ExitCandidate,
    Reachable,
    choose_entry,
    leaves_an_exit,
    listed_exits,
    no_entry_matches,
    no_exit_matches,
    wished_exits,
)
from nymgate.exits.pool_io import ExitPool
from nymgate.purse.sources_io import Spender
from nymgate.ways.directory_io import RunningDirectory
from nymgate.ways.inside_io import inside_connector
from nymgate.ways.sleep import Rest
from nymgate.ways.sleep_io import Sleeper
from nymgate.ways.upstream_io import MixnetUpstream, UpstreamOptions, Way

log = structlog.get_logger("nymgate.identity")

T = TypeVar("T")

GATEWAY_START_SECONDS: Final = 25.0  # connect and set up take 10 s each at worst
RETRY_FIRST_SECONDS: Final = 1.0
RETRY_LIMIT_SECONDS: Final = 30.0
BROKE_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Known:
    """What the directory says: enough to choose an entry and an exit."""

    topology: Topology
    exits: Sequence[ExitCandidate]
    """Those that the configuration allows."""
    countries: Mapping[bytes, str | None] = field(default_factory=dict)
    """Of nodes by identity, as far as was asked for."""
    scores: Mapping[bytes, int] = field(default_factory=dict)
    """Of gateways by identity, in percent."""


class Neighbours(Protocol):
    """The other identities of a proxy, for one that makes its choices."""

    def known(self) -> Known | None:
        """What one of them learned of the network a short while ago."""

    def entry(self) -> bytes | None:
        """The entry gateway that sees this machine already: one stranger fewer."""

    def exits(self) -> Collection[Recipient]:
        """Exits that others use: taken only when there is no other."""


class _Alone:
    def known(self) -> Known | None:
        return None

    def entry(self) -> bytes | None:
        return None

    def exits(self) -> Collection[Recipient]:
        return ()


ALONE: Final[Neighbours] = _Alone()


@dataclass(frozen=True, slots=True)
class Connected:
    """A way that is up, with all its parts."""

    client: MixnetClient
    exit: ExitPool
    sleeper: Sleeper
    entry: RoutingNode


class Identity:
    """One way into the mixnet, from its first attempt to :meth:`close`. ``ready`` says when streams get through."""

    def __init__(
        self,
        plan: wiring.Plan,
        folder: Path,
        *,
        spender: Spender | None = None,
        hide_questions: bool = False,
        neighbours: Neighbours = ALONE,
        on_demand: bool = False,
        rng: random.Random = SYSTEM_RNG,
    ) -> None:
        """``folder`` is where its keys are, for nobody else. ``spender`` pays for it, and is closed with it.

        ``hide_questions``: once it has a way, the directory is asked through the mixnet.
        ``on_demand``: streams wait for it already, and may do so for as long as a stream may take to connect.
        """
        self.plan = plan
        self.folder = folder
        self.number = 0
        """0 is the default identity; the others are numbered in the order of their making."""
        self._on_demand = on_demand
        self.upstream = MixnetUpstream(self._upstream_options())
        """Opens its streams; says what is missing while it has no way."""
        self.spender = spender
        if spender is not None:
            self.upstream.supply = spender.refusal
        self._hide_questions = hide_questions
        self._neighbours = neighbours
        self._known: Known | None = None
        self._running: RunningDirectory | None = None
        self._exits: ExitPool | None = None
        self._rng = rng
        self._avoid: set[bytes] = set()
        self._connected: Connected | None = None
        self._ready: asyncio.Future[Connected] = asyncio.get_running_loop().create_future()
        self._tasks = TaskSet("identity")

    def start(self) -> None:
        """Look for a way from now on."""
        self._tasks.spawn(self._connect_for_ever(), name="connect")

    async def close(self, *, hurry: bool = False) -> None:
        """Leave the mixnet. In a hurry nothing queued is waited for."""
        await self._tasks.close()
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()  # seen
        self.upstream.way = None
        try:
            if self._connected is not None:
                connected, self._connected = self._connected, None
                await disconnect(connected, hurry=hurry)
        finally:
            if self.spender is not None:
                await self.spender.close()  # last: the link settles its tickets while it closes

    def reload(self, plan: wiring.Plan) -> None:
        """Take over what can change while running."""
        self.plan = plan
        self.upstream.reload(self._upstream_options())
        if self._connected is not None:
            self._connected.sleeper.reload(plan.config.mixnet.sleep_after)

    def _upstream_options(self) -> UpstreamOptions:
        options = wiring.upstream_options(self.plan)
        if not self._on_demand:
            return options
        return replace(options, link_wait_seconds=options.connect_timeout_seconds)

    @property
    def connected(self) -> Connected | None:
        """The way in use, for those who want its numbers."""
        return self._connected

    @property
    def exit_in_use(self) -> Recipient | None:
        """The exit it has settled on, be it while it is still looking for its way."""
        return self._exits.in_use if self._exits is not None else None

    def known(self, max_age_seconds: float) -> Known | None:
        """What it knows of the network, where that is no older."""
        connected, running, known = self._connected, self._running, self._known
        if connected is None or running is None or known is None:
            return None
        if asyncio.get_running_loop().time() - running.fetched > max_age_seconds:
            return None
        return replace(known, topology=connected.client.topology)

    async def ready(self) -> Connected:
        """Wait until streams get through. Raises the NymgateError that trying again cannot mend."""
        return await asyncio.shield(self._ready)

    def when_ready(self, tell: Callable[[], None]) -> None:
        """Call this once streams get through; never, if they never do."""

        def arrived(ready: asyncio.Future[Connected]) -> None:
            if not ready.cancelled() and ready.exception() is None:
                tell()

        self._ready.add_done_callback(arrived)

    # ---- finding a way ------------------------------------------------------------------------------------

    async def _connect_for_ever(self) -> None:
        failures = 0
        while True:
            try:
                connected = await self._connect()
            except (MixnetError, ExitError, NymgateError) as error:
                if wiring.is_hopeless(error, self.plan):
                    self._ready.set_exception(wiring.explain(error))
                    return
                layer = error.layer
                self.upstream.missing = (layer, wiring.phrase(error))
                longest = min(RETRY_LIMIT_SECONDS, RETRY_FIRST_SECONDS * 2.0 ** min(failures, 10))
                pause = self._rng.uniform(longest / 2, longest)
                log.warning("not.connected", layer=layer, reason=str(error), retry_seconds=round(pause, 1))
                failures += 1
                await (self.spender.pause(pause) if self.spender is not None else asyncio.sleep(pause))
            else:
                self._avoid.clear()
                self._connected = connected
                self.upstream.way = Way(connected.client, connected.exit, connected.sleeper)
                self._ready.set_result(connected)
                return

    async def _connect(self) -> Connected:
        plan = self.plan
        active = await self._remembered_entry()
        source = wiring.topology_source(plan, self.spender.watch if self.spender is not None else None)
        known = self._neighbours.known() or await self._learn(source)
        topology = known.topology
        topology.ensure_usable()
        entry = self._choose_entry(known, active)
        running = self._running = RunningDirectory(source, topology)
        self._known = known
        client = MixnetClient(
            source=running,
            store=ClientStore(self.folder),
            profile=plan.profile,
            entry=entry.identity,
            tickets=self.spender.source if self.spender is not None else None,
            options=wiring.client_options(plan),
            link_options=wiring.link_options(plan),
            rng=self._rng,
        )
        if self.spender is not None:
            self.spender.serves(client)
        try:
            await self._unless_broke(client, self._start(client, entry))
        except BaseException:
            await client.close()  # it may have got there in the very moment in which it was given up
            raise
        try:
            exits = await self._unless_broke(client, self._open_exits(client, running, known))
        except BaseException as error:
            if isinstance(error, NoUsableExit):
                self._avoid.add(entry.identity)  # perhaps the only live exit is at this very gateway
            await client.pause()  # nothing of ours is worth waiting for
            await client.close()
            raise
        sleeper = Sleeper(client, plan.config.mixnet.sleep_after)
        exits.sleeps_by(lambda: sleeper.state is not Rest.ASLEEP)
        if self._hide_questions:
            running.go_through(
                inside_connector(self.upstream.open),
                lambda: math.isinf(self.plan.config.mixnet.sleep_after) or sleeper.state is Rest.BUSY,
            )
        return Connected(client, exits, sleeper, entry)

    async def _learn(self, source: NymApiSource | FileSource) -> Known:
        topology = await source.fetch()
        scores = source.gateway_scores
        entry_wish, exit_wish = self.plan.entry_wish, self.plan.exit_wish
        if exit_wish.recipient is not None and not entry_wish.countries:
            return Known(
                topology, wished_exits([], exit_wish), scores=scores
            )  # no need to ask for descriptions
        nodes = await source.described_nodes()
        listed = listed_exits(nodes, scores)
        exits = wished_exits(listed, exit_wish)
        if not exits:
            raise no_exit_matches(listed, exit_wish)
        return Known(topology, exits, {node.identity: node.country for node in nodes}, scores)

    async def _remembered_entry(self) -> bytes | None:
        async with ClientStore(self.folder) as store:
            return await store.active_gateway()

    def _choose_entry(self, known: Known, active: bytes | None) -> RoutingNode:
        """The configured one, else the one used so far, else the neighbours', else a random one.

        Never the only exit's gateway.
        """
        topology, wish = known.topology, self.plan.entry_wish
        if wish.identity is not None:
            return topology.gateway(wish.identity)
        allowed = [
            node.identity
            for node in topology.entry_gateways()
            if wish.allows(node.identity, known.countries.get(node.identity))
        ]
        if not allowed and wish.countries:
            raise no_entry_matches((known.countries.get(n.identity) for n in topology.entry_gateways()), wish)
        gateways = {exit_.recipient.gateway for exit_ in known.exits}
        for wanted in (active, self._neighbours.entry()):
            if wanted in allowed and wanted not in self._avoid and leaves_an_exit(wanted, gateways):
                for node in topology.entry_gateways():
                    if node.identity == wanted:
                        return node
        return choose_entry(topology, gateways, self._rng, self._avoid, allowed=allowed, scores=known.scores)

    async def _start(self, client: MixnetClient, entry: RoutingNode) -> None:
        try:
            async with asyncio.timeout(GATEWAY_START_SECONDS):
                await client.start()
        except TimeoutError:
            self._avoid.add(entry.identity)
            stats = client.link_stats
            why = (stats.last_error if stats is not None else None) or "no answer"
            raise NetworkUnreachable(
                f"The entry gateway {b58encode(entry.identity)} does not take us: {why}.",
                "Check this machine's connection, or choose another gateway with --entry.",
                layer="gateway",
            ) from None

    async def _unless_broke(self, client: MixnetClient, work: Coroutine[Any, Any, T]) -> T:
        """Do this, unless nothing can be sent for want of an allowance: then that is what is wrong."""
        async with TaskSet("unless broke") as tasks:
            doing = tasks.spawn(work, name="work")
            while not doing.done():
                await asyncio.wait((doing,), timeout=BROKE_POLL_SECONDS)
                if client.link_state is LinkState.OUT_OF_BANDWIDTH and not doing.done():
                    stats = client.link_stats
                    if stats is not None and stats.claims_failed and not stats.claims and not stats.claiming:
                        raise self._broke(stats.last_error)
            result: T = doing.result()
            return result

    def _broke(self, why: str | None) -> NymgateError:
        trouble = self.spender.source.trouble if self.spender is not None else None
        if trouble is not None:  # whatever it is, the next attempt may find it mended
            return DependencyFailed(
                trouble.what,
                trouble.todo,
                layer=trouble.layer,
                code=trouble.code,
                exit_code=ExitCode.EXHAUSTED,
            )
        pays = self.spender is not None
        return DependencyFailed(
            f"The gateway forwards nothing for us: {why or 'the allowance is used up'}.",
            "Try another gateway with --entry."
            if pays
            else "Buy tickets (`nymgate account set`, `nymgate account obtain-ticketbooks`), or try another gateway.",
            layer="tickets",
            code="E_NO_ALLOWANCE",
            exit_code=ExitCode.EXHAUSTED,
        )

    async def _open_exits(self, client: MixnetClient, running: RunningDirectory, known: Known) -> ExitPool:
        wish = self.plan.exit_wish

        async def reread() -> list[ExitCandidate]:
            return wished_exits(await running.exits(), wish)

        pool = self._exits = ExitPool(
            client,
            known.exits,
            reachable=Reachable(lambda: client.topology),
            options=wiring.exit_options(self.plan),
            limits=wiring.pool_limits(self.plan),
            named=wish.recipient is not None,
            reread=reread if wish.recipient is None else None,
            others=self._neighbours.exits,
            rng=self._rng,
        )
        try:
            await pool.start()
        except BaseException:
            await pool.close(0.0)
            raise
        return pool


async def disconnect(connected: Connected, *, hurry: bool) -> None:
    """Leave the mixnet; unless in a hurry, last messages are given a moment to leave."""
    try:
        await connected.sleeper.close()
        if hurry:
            await connected.client.pause()
            await connected.exit.close(0.0)
        else:
            await connected.client.resume()  # asleep or not, closing messages have to get out
            await connected.exit.close()
    finally:
        await connected.client.close()  # whatever happens: it settles tickets in a store that is closed next
