"""The money side of a running proxy: the ticket sources of its gateway links, the top-up that keeps tickets in hand,
and purchases that were left unfinished."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import structlog

from nym_credentials.errors import CredentialsError
from nym_credentials.tickets.rules import ClockWatch
from nym_credentials.topup.topup_io import TopUp
from nymgate.errors import NymgateError, StoreBusy, StreamRefused
from nymgate.purse.money import MoneyPlan, NoAccount, explain_money
from nymgate.purse.money_io import Money, Stock
from nymgate.purse.sources_io import Spender
from nymgate.purse.supply import SupplyState, refusal
from nymgate.purse.topup_runner_io import TopUpRunner
from zknym import TicketType

if TYPE_CHECKING:
    from nym_credentials.purchase.steps import Resumed

log = structlog.get_logger("nymgate.purse")

RESUME_FIRST_SECONDS: Final = 5.0
RESUME_LIMIT_SECONDS: Final = 600.0
HOUSEKEEPING_SECONDS: Final = 6 * 3600.0
CLOCK_POLL_SECONDS: Final = 30.0
"""How often it is looked whether the clock is right, before books are thrown away by it."""
REPLICAS_SECONDS: Final = 15.0
YOUNG_SECONDS: Final = 30.0
"""Who has the store open for less than this is a command, and no replica."""


class Purse:
    """Use it as an async context manager around everything that may spend."""

    def __init__(
        self, plan: MoneyPlan, *, rng: random.Random, clock: Callable[[], float] = time.time
    ) -> None:
        """``clock``: Unix time."""
        self.plan = plan
        self.watch = ClockWatch()
        self.money = Money(plan, clock=clock)
        self.processes: Callable[[], int] = lambda: 1
        """How many processes of this machine share the store; replicas on PostgreSQL are counted by themselves."""
        self._rng = rng
        self._clock = clock
        self._sources: list[Spender] = []
        self._replicas = 1
        self._buying = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.money.__aenter__()
        try:
            self.runner = await TopUpRunner.make(
                self.money,
                profile=self.plan.config.mixnet.profile,
                sources=lambda: self._sources,
                sessions=self.sessions,
                rng=self._rng,
                turn=self._buying,
                clock=self._clock,
            )
        except BaseException:
            await self.money.__aexit__(None, None, None)
            raise
        if self.money.store.left_behind:
            log.warning("tickets.left.behind", count=self.money.store.left_behind)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.runner.close()
            for source in list(self._sources):
                await source.close()
        finally:
            await self.money.__aexit__(kind, error, trace)

    # ---- those who spend ---------------------------------------------------------------------------------

    def source_for(self, account: bytes = b"") -> Spender:
        """A ticket source for one more mixnet client, with a meter of its own; close it with the client.

        ``account`` tells clients at the same gateway apart: empty for the one client of a proxy without isolation.
        """
        source = Spender(
            self.money.store,
            watch=self.watch,
            ticket_bytes=self.plan.config.tickets.ticket_size,
            account=account,
            taken=self.topup.poke,
            refusal=self.refusal,
            closed=self._closed,
        )
        self._sources.append(source)
        return source

    def _closed(self, source: Spender) -> None:
        if source in self._sources:
            self._sources.remove(source)
            self.runner.feed.closing(source)

    def sessions(self) -> int:
        """Clients that send, each with cover traffic of its own: identities times workers or replicas."""
        return max(1, len(self._sources)) * max(1, self._replicas, self.processes())

    @property
    def turn(self) -> asyncio.Lock:
        """Held while something is bought by this process."""
        return self._buying

    # ---- how it stands -----------------------------------------------------------------------------------

    @property
    def topup(self) -> TopUp:
        """The control loop that buys."""
        return self.runner.topup

    def supply(self) -> SupplyState:
        """ok, degraded or exhausted, in one sentence."""
        return self.runner.supply()

    def refusal(self) -> StreamRefused | None:
        """What a stream hears now if it cannot be paid for."""
        return refusal(self.supply())

    def reload(self, plan: MoneyPlan) -> None:
        """From now on by this budget and these marks."""
        self.plan = self.money.plan = plan
        self.topup.limits, self.topup.control.settings = plan.limits, plan.settings
        self.runner.retry()

    async def stock(self) -> Stock:
        """What there is."""
        return await self.money.stock()

    # ---- for as long as the proxy runs -------------------------------------------------------------------

    async def keep(self, reached: Callable[[], "asyncio.Future[None]"]) -> None:
        """Top up, finish what was left unfinished, and tidy up.

        ``reached``: done when chain and signers can be asked.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.runner.run(reached), name="top up")
            tasks.create_task(self._finish(reached), name="unfinished purchases")
            tasks.create_task(self._forget_expired(), name="expired books")
            if self.money.store.shared:
                tasks.create_task(self._count_replicas(), name="replicas")

    async def _count_replicas(self) -> None:
        while True:
            with contextlib.suppress(CredentialsError):
                store, grown_up = self.money.store, self._clock() - YOUNG_SECONDS
                found = [one for one in await store.replicas() if one.lease_seconds > 0]
                alive = [one for one in found if one.session == store.session or one.joined_unix <= grown_up]
                self._replicas = max(1, len(alive))
            await asyncio.sleep(REPLICAS_SECONDS)

    async def _forget_expired(self) -> None:
        """Not before others confirm what day it is: a book is gone for good, and clocks are wrong after a power cut."""
        while True:
            agrees = self.watch.agrees(self._clock())
            if agrees:
                try:
                    await self.money.store.forget_expired(self.money.today)
                except CredentialsError:
                    pass  # whoever needs the store says so
                except Exception as error:  # the top-up runs beside this, and must not end with it
                    log.error("books.expired", reason=type(error).__name__, exc_info=error)
            await asyncio.sleep(HOUSEKEEPING_SECONDS if agrees else CLOCK_POLL_SECONDS)

    async def _finish(self, reached: Callable[[], "asyncio.Future[None]"]) -> None:
        failures = 0
        while True:
            try:
                if not await self._left_to_finish():
                    failures = 0
                    await asyncio.sleep(HOUSEKEEPING_SECONDS)
                    continue
                await asyncio.shield(reached())
                results = await self._resume()
                if all(item.error is None for item in results):
                    continue
            except StoreBusy:
                pass  # another process is at it
            except NoAccount as error:
                log.warning("purchases.unfinished", reason=error.what, todo=error.todo)
            except NymgateError as error:
                log.warning("purchases.unfinished", layer=error.layer, code=error.code, reason=str(error))
            except Exception as error:  # the top-up runs beside this, and must not end with it
                log.error("purchases.failed", reason=type(error).__name__, exc_info=error)
            longest = min(RESUME_LIMIT_SECONDS, RESUME_FIRST_SECONDS * 2.0 ** min(failures, 10))
            failures += 1
            await asyncio.sleep(self._rng.uniform(longest / 2, longest))

    async def _left_to_finish(self) -> bool:
        """Unfinished purchases that the top-up does not take up itself."""
        unfinished = await self.money.unfinished()
        if self.plan.tops_up:
            unfinished = [item for item in unfinished if item.ticket_type is not TicketType.MIXNET_ENTRY]
        return bool(unfinished)

    async def _resume(self) -> "list[Resumed]":
        async with self._buying, self.money.buyer(patience_seconds=0.0) as buyer:
            results = await buyer.resume()
        for item in results:
            kind, state = item.purchase.ticket_type.label, item.purchase.state.value
            if item.error is None:
                log.info("purchase.finished", purchase=str(item.purchase.id), type=kind, state=state)
            else:
                error = item.error
                ours = explain_money(error) if isinstance(error, CredentialsError) else None
                log.warning(
                    "purchase.unfinished",
                    purchase=str(item.purchase.id),
                    state=state,
                    code=ours.code if ours is not None else "E_INTERNAL",
                    reason=str(error) if ours is not None else type(error).__name__,
                )
        return results
