"""One mixnet identity: keys of its own in a folder of its own, a client, an exit, and the sleep between uses.

While there is no way (directory, gateway or exit out of reach), streams are refused with the layer that is missing
and the way is tried again for ever. Only what trying again cannot mend ends the attempts: wrong configuration, a
data folder that another instance holds.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import structlog

from nym_exit.client_io import ExitClient
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
from nymgate.directory_io import RunningDirectory
from nymgate.errors import DependencyFailed, ExitCode, NetworkUnreachable, NoUsableExit, NymgateError
from nymgate.exits import (
    ExitCandidate,
    choose_entry,
    leaves_an_exit,
    listed_exits,
    shuffled,
    usable_exits,
)
from nymgate.purse_sources_io import Spender
from nymgate.sleep_io import Sleeper
from nymgate.upstream_io import MixnetUpstream, UpstreamOptions, Way

log = structlog.get_logger("nymgate.identity")

T = TypeVar("T")

GATEWAY_START_SECONDS: Final = 25.0  # connect and set up take 10 s each at worst
EXIT_PROBE_SECONDS: Final = 10.0
EXITS_PROBED_AT_ONCE: Final = 3
EXITS_PROBED_AT_MOST: Final = 12
RETRY_FIRST_SECONDS: Final = 1.0
RETRY_LIMIT_SECONDS: Final = 30.0
BROKE_POLL_SECONDS: Final = 0.2

Directory = Callable[[RunningDirectory, Sleeper], None]
"""What sends a running client's questions to the directory through the mixnet."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the directory says: enough to choose an entry and an exit."""

    topology: Topology
    exits: Sequence[ExitCandidate]


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
    exit: ExitClient
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
        directory: Directory | None = None,
        neighbours: Neighbours = ALONE,
        on_demand: bool = False,
        rng: random.Random = SYSTEM_RNG,
    ) -> None:
        """``folder`` is where its keys are, for nobody else. ``spender`` pays for it, and is closed with it.

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
        self._directory = directory
        self._neighbours = neighbours
        self._known: Known | None = None
        self._running: RunningDirectory | None = None
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

    def known(self, max_age_seconds: float) -> Known | None:
        """What it knows of the network, where that is no older."""
        connected, running, known = self._connected, self._running, self._known
        if connected is None or running is None or known is None:
            return None
        if asyncio.get_running_loop().time() - running.fetched > max_age_seconds:
            return None
        return Known(connected.client.topology, known.exits)

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
        topology, exits = known.topology, known.exits
        topology.ensure_usable()
        if not exits:
            raise NoUsableExit(
                "The directory lists no network requester.",
                "Give one as mixnet.exit, or try another network.",
            )
        entry = self._choose_entry(topology, exits, active)
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
        await self._unless_broke(client, self._start(client, entry))
        try:
            exit_client = await self._unless_broke(client, self._choose_exit(client, exits))
        except BaseException as error:
            if isinstance(error, NoUsableExit):
                self._avoid.add(entry.identity)  # perhaps the only live exit is at this very gateway
            await client.pause()  # nothing of ours is worth waiting for
            await client.close()
            raise
        sleeper = Sleeper(client, plan.config.mixnet.sleep_after)
        if self._directory is not None:
            self._directory(running, sleeper)
        return Connected(client, exit_client, sleeper, entry)

    async def _learn(self, source: NymApiSource | FileSource) -> Known:
        topology = await source.fetch()
        if self.plan.exit is not None:
            return Known(topology, [ExitCandidate(self.plan.exit)])
        return Known(topology, listed_exits(await source.described_nodes()))

    async def _remembered_entry(self) -> bytes | None:
        async with ClientStore(self.folder) as store:
            return await store.active_gateway()

    def _choose_entry(
        self, topology: Topology, exits: Sequence[ExitCandidate], active: bytes | None
    ) -> RoutingNode:
        """The configured one, else the one used so far, else the neighbours', else a random one.

        Never the only exit's gateway.
        """
        if self.plan.entry is not None:
            return topology.gateway(self.plan.entry)
        gateways = {exit_.recipient.gateway for exit_ in exits}
        for wanted in (active, self._neighbours.entry()):
            if wanted is not None and wanted not in self._avoid and leaves_an_exit(wanted, gateways):
                for node in topology.entry_gateways():
                    if node.identity == wanted:
                        return node
        return choose_entry(topology, gateways, self._rng, self._avoid)

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
                    if stats is not None and stats.claims_failed and stats.claims == 0:
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

    async def _choose_exit(self, client: MixnetClient, exits: Sequence[ExitCandidate]) -> ExitClient:
        options = wiring.exit_options(self.plan)
        if self.plan.exit is not None:
            chosen = ExitClient(client, self.plan.exit, options, rng=self._rng)
            chosen.start()
            self._tasks.spawn(self._check_exit(chosen), name="check exit")
            return chosen
        candidates = shuffled(usable_exits(exits, client.topology, client.address.gateway), self._rng)
        in_use = self._neighbours.exits()
        probe_options = replace(options, surbs=replace(options.surbs, bank_target=0), probe=False)
        tried = 0
        for group in (
            [candidate for candidate in candidates if candidate.recipient not in in_use],
            [candidate for candidate in candidates if candidate.recipient in in_use],
        ):
            for start in range(0, min(len(group), EXITS_PROBED_AT_MOST), EXITS_PROBED_AT_ONCE):
                batch = [
                    ExitClient(client, candidate.recipient, probe_options, rng=self._rng)
                    for candidate in group[start : start + EXITS_PROBED_AT_ONCE]
                ]
                tried += len(batch)
                winner = await first_to_answer(batch, EXIT_PROBE_SECONDS)
                if winner is not None:
                    chosen = ExitClient(client, winner.recipient, options, rng=self._rng)
                    chosen.start()
                    return chosen
        raise NoUsableExit(
            f"None of {tried} exits answers (the directory lists {len(exits)}, some at the entry gateway)."
            if tried
            else "Every exit that the directory lists is at the entry gateway or cannot be reached.",
            "Name one with --exit, or try again later.",
        )

    async def _check_exit(self, chosen: ExitClient) -> None:
        try:
            await chosen.health()
        except ExitError as error:
            log.warning("exit.silent", layer=error.layer, reason=str(error))


async def first_to_answer(clients: Sequence[ExitClient], limit_seconds: float) -> ExitClient | None:
    """Ask all whether they are alive, return the first that says so; all are closed."""
    answered: asyncio.Queue[ExitClient] = asyncio.Queue()

    async def ask(client: ExitClient) -> None:
        with contextlib.suppress(ExitError):
            await client.health()
            answered.put_nowait(client)

    async with TaskSet("exit probes") as tasks:
        for client in clients:
            tasks.spawn(ask(client), name="probe")
        winner: ExitClient | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                winner = await answered.get()
    for client in reversed(clients):
        await client.close(0.0)
    return winner


async def disconnect(connected: Connected, *, hurry: bool) -> None:
    """Leave the mixnet; unless in a hurry, last messages are given a moment to leave."""
    await connected.sleeper.close()
    if hurry:
        await connected.client.pause()
        await connected.exit.close(0.0)
    else:
        await connected.client.resume()  # asleep or not, closing messages have to get out
        await connected.exit.close()
    await connected.client.close()
