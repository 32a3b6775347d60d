"""One running proxy: listeners first, then a way into the mixnet, kept until told to stop.

Listeners are bound before anything else and stay: while there is no way (directory, gateway or exit out of
reach), streams are refused with the layer that is missing and the way is tried again for ever. Only what
trying again cannot mend ends the proxy: wrong configuration, a data folder that another instance holds.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import structlog

from nym_exit.client_io import ExitClient
from nym_exit.errors import ExitError
from nym_mixnet.client_io import MixnetClient
from nym_mixnet.errors import MixnetError
from nym_mixnet.link_state import LinkState
from nym_mixnet.store_io import ClientStore
from nym_mixnet.tasks_io import TaskSet
from nym_mixnet.topology import RoutingNode, Topology
from nym_sphinx import SYSTEM_RNG, b58encode
from nymgate import wiring
from nymgate.detect import Speaks
from nymgate.directory_io import RunningDirectory
from nymgate.errors import (
    DataFolderError,
    DependencyFailed,
    ExitCode,
    NetworkUnreachable,
    NoUsableExit,
    NymgateError,
)
from nymgate.exits import (
    ExitCandidate,
    choose_entry,
    leaves_an_exit,
    listed_exits,
    shuffled,
    usable_exits,
)
from nymgate.mixnet_connector_io import mixnet_connector
from nymgate.money_io import Stock
from nymgate.purse_io import Purse
from nymgate.server import SocksServer
from nymgate.signals_io import Signals, unless
from nymgate.sleep import Rest
from nymgate.sleep_io import Sleeper
from nymgate.upstream_io import MixnetUpstream, Way

log = structlog.get_logger("nymgate.daemon")

T = TypeVar("T")

GATEWAY_START_SECONDS: Final = 25.0  # connect and set up take 10 s each at worst
EXIT_PROBE_SECONDS: Final = 10.0
EXITS_PROBED_AT_ONCE: Final = 3
EXITS_PROBED_AT_MOST: Final = 12
RETRY_FIRST_SECONDS: Final = 1.0
RETRY_LIMIT_SECONDS: Final = 30.0
BROKE_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Connected:
    """A way that is up, with all its parts."""

    client: MixnetClient
    exit: ExitClient
    sleeper: Sleeper
    entry: RoutingNode


class Proxy:
    """Use as an async context manager: inside, applications can connect. ``ready`` says when streams get through."""

    def __init__(self, plan: wiring.Plan, *, rng: random.Random = SYSTEM_RNG) -> None:
        self.plan = plan
        self.addresses: list[tuple[str, int]] = []
        """Where applications connect to with any protocol, with the ports that the system chose."""
        self.addresses_apart: dict[Speaks, list[tuple[str, int]]] = {}
        """Where they connect to with some of them."""
        self._rng = rng
        self._avoid: set[bytes] = set()
        self._connected: Connected | None = None
        self._hurry = False
        self.purse: Purse | None = None
        """What pays for the traffic; None where nothing does."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Connected] = loop.create_future()
        self._tasks = TaskSet("proxy")
        make_folder(self.plan)
        self.upstream = MixnetUpstream(wiring.upstream_options(self.plan))
        self.server = SocksServer(self.upstream, wiring.server_options(self.plan))
        async with contextlib.AsyncExitStack() as purse_stack, contextlib.AsyncExitStack() as stack:
            if self.plan.money.pay:
                self.purse = await purse_stack.enter_async_context(Purse(self.plan.money, rng=self._rng))
            await stack.enter_async_context(self.server)
            self.addresses = await self.server.listen(self.plan.listen)
            for speaks, addresses in self.plan.listen_apart:
                self.addresses_apart[speaks] = await self.server.listen(addresses, speaks)
            if self.purse is not None:
                if self.purse.money.proxy is not None:
                    self.purse.money.proxy = self.addresses[0]
                self._tasks.spawn(self.purse.keep(self._reached), name="purchases")
            self._tasks.spawn(self._connect_for_ever(), name="connect")
            self._stack, self._purse_stack = stack.pop_all(), purse_stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.close()
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()  # seen
        await self._stack.aclose()
        self.upstream.way = None
        try:
            if self._connected is not None:
                connected, self._connected = self._connected, None
                await disconnect(connected, hurry=self._hurry)
        finally:
            await self._purse_stack.aclose()  # last: the link settles its tickets while it closes

    @property
    def connected(self) -> Connected | None:
        """The way in use, for those who want its numbers."""
        return self._connected

    async def ready(self) -> Connected:
        """Wait until streams get through. Raises the NymgateError that trying again cannot mend."""
        return await asyncio.shield(self._ready)

    def _reached(self) -> asyncio.Future[None]:
        """Done when what tickets are bought from can be reached: at once, or by way of the mixnet."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def arrived(ready: asyncio.Future[Connected]) -> None:
            if not ready.cancelled() and ready.exception() is None and not reached.done():
                reached.set_result(None)

        if self.plan.money.proxy is None:
            reached.set_result(None)
        else:
            self._ready.add_done_callback(arrived)
        return reached

    async def drain(self, limit_seconds: float) -> bool:
        """Stop listening and let streams end; True if all did."""
        return await self.server.drain(limit_seconds)

    def hurry(self) -> None:
        """Make the end that follows take no time: nothing queued is waited for."""
        self._hurry = True

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
                await asyncio.sleep(pause)
            else:
                self._avoid.clear()
                self._connected = connected
                self.upstream.way = Way(connected.client, connected.exit, connected.sleeper)
                self._ready.set_result(connected)
                return

    async def _connect(self) -> Connected:
        plan = self.plan
        active = await self._remembered_entry()
        source = wiring.topology_source(plan, self.purse.watch if self.purse is not None else None)
        topology = await source.fetch()
        topology.ensure_usable()
        exits = (
            [ExitCandidate(plan.exit)]
            if plan.exit is not None
            else listed_exits(await source.described_nodes())
        )
        if not exits:
            raise NoUsableExit(
                "The directory lists no network requester.",
                "Give one as mixnet.exit, or try another network.",
            )
        entry = self._choose_entry(topology, exits, active)
        running = RunningDirectory(source, topology)
        client = MixnetClient(
            source=running,
            store=ClientStore(plan.folder),
            profile=plan.profile,
            entry=entry.identity,
            tickets=self.purse.source if self.purse is not None else None,
            options=wiring.client_options(plan),
            link_options=wiring.link_options(plan),
            rng=self._rng,
        )
        if self.purse is not None:
            self.purse.serves(client)
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
        if plan.money.proxy is not None:
            awake_for_ever = math.isinf(plan.config.mixnet.sleep_after)
            running.go_through(
                mixnet_connector(*self.addresses[0]), lambda: awake_for_ever or sleeper.state is Rest.BUSY
            )
        return Connected(client, exit_client, sleeper, entry)

    async def _remembered_entry(self) -> bytes | None:
        async with ClientStore(self.plan.folder) as store:
            return await store.active_gateway()

    def _choose_entry(
        self, topology: Topology, exits: Sequence[ExitCandidate], active: bytes | None
    ) -> RoutingNode:
        """The configured one, else the one used so far, else a random one; never the only exit's gateway."""
        if self.plan.entry is not None:
            return topology.gateway(self.plan.entry)
        gateways = {exit_.recipient.gateway for exit_ in exits}
        if active is not None and active not in self._avoid and leaves_an_exit(active, gateways):
            for node in topology.entry_gateways():
                if node.identity == active:
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
        trouble = self.purse.source.trouble if self.purse is not None else None
        if trouble is not None:  # whatever it is, the next attempt may find it mended
            return DependencyFailed(
                trouble.what,
                trouble.todo,
                layer=trouble.layer,
                code=trouble.code,
                exit_code=ExitCode.EXHAUSTED,
            )
        pays = self.purse is not None
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
        probe_options = replace(options, surbs=replace(options.surbs, bank_target=0), probe=False)
        tried = candidates[:EXITS_PROBED_AT_MOST]
        for start in range(0, len(tried), EXITS_PROBED_AT_ONCE):
            batch = [
                ExitClient(client, candidate.recipient, probe_options, rng=self._rng)
                for candidate in tried[start : start + EXITS_PROBED_AT_ONCE]
            ]
            winner = await first_to_answer(batch, EXIT_PROBE_SECONDS)
            if winner is not None:
                chosen = ExitClient(client, winner.recipient, options, rng=self._rng)
                chosen.start()
                return chosen
        raise NoUsableExit(
            f"None of {len(tried)} exits answers (the directory lists {len(exits)}, some at the entry "
            f"gateway)."
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


def make_folder(plan: wiring.Plan) -> None:
    """Make the data folder, for this user only."""
    try:
        plan.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataFolderError(
            f"The data folder {plan.folder} cannot be made: {error.strerror}.",
            "Choose another with --data-dir, or correct its permissions.",
        ) from error


async def run(plan: wiring.Plan, *, announce: Callable[[Proxy, Connected, Stock | None], None]) -> None:
    """Run until SIGTERM or SIGINT. Raises the NymgateError that ended it before."""
    with Signals() as signals:
        async with Proxy(plan) as proxy:
            log.info("listening", addresses=[f"{host}:{port}" for host, port in proxy.addresses])
            if await unless(signals.first, proxy.ready()):
                connected = await proxy.ready()
                announce(proxy, connected, await proxy.purse.stock() if proxy.purse is not None else None)
                await signals.first.wait()
            limit = plan.config.streams.drain
            log.info("stopping", open=proxy.server.open_connections, limit_seconds=limit)
            if not await unless(signals.second, proxy.drain(limit)):
                log.warning("stopping.now", open=proxy.server.open_connections)
                proxy.hurry()
