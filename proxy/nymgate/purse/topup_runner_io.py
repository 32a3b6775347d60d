"""The top-up of a running proxy: fed with use, kept in the account's name, and woken when what was in its way is gone.

The loop itself, and everything it decides, is ``nym_credentials.topup``. Here it gets a clock, the store, the account
of the moment, the meter; and its state is turned into words (``supply``) and lines of the log.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, Self

import structlog

from nym_credentials.errors import CredentialsError
from nym_credentials.purchase.steps import Progress, Step
from nym_credentials.topup.budget import Spent, judge
from nym_credentials.topup.control import TopUpControl
from nym_credentials.topup.faults import fault_of
from nym_credentials.topup.hindrances import Hindrance, Supply
from nym_credentials.topup.topup_io import BudgetRefused, TopUp, TopUpStatus, offer_of
from nymgate.errors import NymgateError
from nymgate.purse.burn_feed_io import FEED_SECONDS, BurnFeed, remembered_meter
from nymgate.purse.money_io import Money
from nymgate.purse.sources_io import Spender
from nymgate.purse.supply import WATCHED, Circumstances, SupplyState, supply_state, without_address
from nymgate.purse.topup_buyer_io import AccountBuyer, FleetStock

log = structlog.get_logger("nymgate.topup")

WATCH_SECONDS: Final = 4.0
"""How often it is looked whether an account was set, and, while there is no ticket, whether there is one."""
ASK_FIRST_SECONDS: Final = 4.0
ASK_LIMIT_SECONDS: Final = 45.0
"""While money is in the way, balance and price are asked for in such intervals, growing from the first to the last."""
KEEP_LIMIT_SECONDS: Final = 2.0
"""How long the end waits until use is stored."""
_LEVELS: Final = {Supply.OK: "info", Supply.DEGRADED: "warning", Supply.EXHAUSTED: "error"}


class TopUpRunner:
    """``await TopUpRunner.make(…)``, then :meth:`run` in a task for as long as the proxy runs, then :meth:`close`."""

    def __init__(
        self,
        money: Money,
        topup: TopUp,
        feed: BurnFeed,
        buyer: AccountBuyer,
        *,
        sources: Callable[[], Iterable[Spender]],
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        """Use :meth:`make`."""
        self._sources = sources
        self.topup = topup
        self.feed = feed
        self._money = money
        self._buyer = buyer
        self._clock = clock
        self._rng = rng
        self._account: bool | None = None
        self._reached = False
        self._since = clock()
        self._state = Supply.OK
        self._said: tuple[Supply, str] | None = None
        self._known: tuple[bool, Supply, Hindrance | None] = (False, Supply.OK, None)
        """At the last change: whether there were tickets, and what was in the way of more."""

    @classmethod
    async def make(
        cls,
        money: Money,
        *,
        profile: str,
        sources: Callable[[], Iterable[Spender]],
        sessions: Callable[[], int],
        rng: random.Random,
        turn: asyncio.Lock | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """``turn`` is held while something is bought, beside the store's own. Raises errors of the store."""
        config = money.plan.config.tickets
        ticket_bytes = config.ticket_size
        meter, facts = await remembered_meter(money.store, profile, ticket_bytes)
        feed = BurnFeed(
            money.store,
            meter,
            facts,
            ticket_bytes=ticket_bytes,
            sources=sources,
            sessions=sessions,
            clock=clock,
        )
        stock = FleetStock(money)
        runner: Self
        buyer = AccountBuyer(money, allowed=money.plan.tops_up, reached=lambda: runner.may_ask)
        turns = turn or asyncio.Lock()

        @contextlib.asynccontextmanager
        async def one_turn() -> AsyncIterator[None]:
            async with turns, money.store.turn():
                yield

        def granted() -> float | None:
            known = [left for source in sources() if (left := source.meter().remaining) is not None]
            return min(known) / ticket_bytes if known else None

        topup = TopUp(
            TopUpControl(money.plan.settings, meter, rng),
            money.plan.limits,
            stock,
            buyer,
            clock=clock,
            sessions=lambda: max(1, sessions()),
            granted=granted,
            turn=one_turn,
            paid_unix=stock.payments.paid_unix,
            watch=lambda progress: runner.note_step(progress),
            changed=lambda status: runner.note_change(status),
            failed=lambda error: runner.note_failure(error),
        )
        runner = cls(money, topup, feed, buyer, sources=sources, clock=clock, rng=rng)
        return runner

    # ---- what others ask ---------------------------------------------------------------------------------

    def supply(self) -> SupplyState:
        """How it stands with tickets, as of the last look."""
        plan = self._money.plan
        known = Circumstances(self._account, plan.tops_up, plan.config.tickets.through_mixnet)
        return supply_state(self.topup.status(), known, self._since)

    @property
    def may_ask(self) -> bool:
        """Whether chain and signers can be asked: at once, or once the mixnet is reached if they are behind it."""
        return self._reached or self._money.proxy is None

    # ---- for as long as the proxy runs -------------------------------------------------------------------

    async def run(self, reached: Callable[[], "asyncio.Future[None]"]) -> None:
        """Top up until cancelled. ``reached``: done when chain and signers can be asked."""
        with contextlib.suppress(NymgateError):
            self._account = await self._money.phrase() is not None
        if self._account is False and self._money.plan.tops_up:
            log.warning(
                "topup.no.account",
                reason="No account is set, so no tickets are bought.",
                todo="Set one with `nymgate account set`; it is noticed by itself.",
            )
        if self._money.plan.tops_up:
            # Nobody may learn the cost from the bill: this stands in the log before the first purchase.
            log.info(
                "topup.on",
                budget=str(self._money.plan.limits),
                tickets_an_hour_awake=round(self.feed.meter.nominal(), 2),
                todo="`nymgate topup plan` shows what it will buy; with tickets.top_up = false it buys nothing.",
            )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._for_ever(self.topup.run), name="top up")
            tasks.create_task(self._for_ever(self._feed), name="burn meter")
            tasks.create_task(self._for_ever(self._watch_account), name="watch account")
            tasks.create_task(self._for_ever(self._watch_money), name="watch money")
            tasks.create_task(self._wait(reached), name="wait for the mixnet")

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        """No mistake ends the top-up, or one of its watchers."""
        while True:
            try:
                await work()
            except Exception as error:
                log.error("topup.failed", reason=type(error).__name__, exc_info=error)
            await asyncio.sleep(FEED_SECONDS)

    async def _wait(self, reached: Callable[[], "asyncio.Future[None]"]) -> None:
        await asyncio.shield(reached())
        if not self._reached:
            self._reached = True
            if self._money.proxy is not None:
                self.retry()

    def retry(self) -> None:
        """Whatever was in the way may be gone."""
        self.topup.control.forget_trouble()
        self.topup.poke()

    async def _feed(self) -> None:
        while True:
            await asyncio.sleep(FEED_SECONDS * self._rng.uniform(0.9, 1.1))
            try:
                await self.feed.feed()
            except CredentialsError as error:
                log.warning("topup.meter", layer=error.layer, reason=str(error))

    async def _watch_account(self) -> None:
        """An account that is set while we run, and books that came from elsewhere."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            trouble = self.topup.control.trouble
            if not self._account or (trouble is not None and trouble.hindrance is Hindrance.WALLET):
                with contextlib.suppress(NymgateError):
                    account = await self._money.phrase() is not None
                    if account and not self._account:
                        log.info("topup.account.set")
                        self._account = True
                        self.retry()
                    self._account = account
            if self.topup.status().supply is Supply.EXHAUSTED:
                self.topup.poke()

    async def _watch_money(self) -> None:
        """While too little money, or too high a price, is in the way: ask whether it still is."""
        pause = ASK_FIRST_SECONDS
        while True:
            await asyncio.sleep(self._rng.uniform(0.75, 1.0) * pause)
            trouble = self.topup.control.trouble
            if trouble is None or trouble.hindrance not in WATCHED:
                pause = ASK_FIRST_SECONDS
                continue
            pause = min(ASK_LIMIT_SECONDS, pause * 1.5)
            try:
                offer = offer_of(await self._buyer.quote())
                spent = Spent.of(await self.topup.payments(), self._clock())
            except (CredentialsError, NymgateError):
                continue  # the top-up itself tells of it when it asks again
            if judge(self.topup.limits, offer, spent, self._clock()) is None:
                pause = ASK_FIRST_SECONDS
                self.retry()

    async def close(self) -> None:
        """Keep what is known of use, unless the store is not to be had: nobody waits for a meter."""
        try:
            async with asyncio.timeout(KEEP_LIMIT_SECONDS):
                await self.feed.keep()
        except CredentialsError as error:
            log.warning("topup.meter", layer=error.layer, reason=str(error))
        except TimeoutError:
            log.warning("topup.meter", layer="tickets", reason="The store did not answer in time.")

    # ---- the log -----------------------------------------------------------------------------------------

    def note_step(self, progress: Progress) -> None:
        """A purchase gets on."""
        if progress.step is Step.DONE:
            log.info("topup.bought", purchase=str(progress.purchase.id), price_unym=progress.purchase.price)
        elif progress.step is Step.PAY:
            log.info("topup.paying", purchase=str(progress.purchase.id), price_unym=progress.purchase.price)

    def note_change(self, status: TopUpStatus) -> None:
        """The supply, the reason why it is not well, or whether there are tickets at all has changed."""
        if status.supply is not self._state:
            self._since, self._state = self._clock(), status.supply
        # Also where the supply was well without tickets, for it could wait, and where they could not be read.
        before, self._known = self._known, (status.has_tickets, status.supply, status.hindrance)
        if status.has_tickets and before != self._known:
            for source in self._sources():
                source.refilled()
        said, self._said = self._said, (status.supply, status.reason)
        if said == self._said:
            return
        found = self.supply()
        facts = {"code": found.code, "layer": found.layer, "reason": found.what, "todo": found.todo}
        told = {name: value for name, value in facts.items() if value}
        level = "info" if found.waiting else _LEVELS[found.state]
        getattr(log, level)(f"supply.{found.state}", tickets=found.tickets, **told)

    def note_failure(self, error: Exception) -> None:
        """A purchase did not get on. What the state tells anyway is not said twice."""
        if isinstance(error, BudgetRefused):
            return
        if isinstance(error, CredentialsError):
            hindrance = fault_of(error).hindrance
            told = hindrance in (Hindrance.FUNDS, Hindrance.WALLET)
            if hindrance is Hindrance.ELSEWHERE:
                log.debug("topup.elsewhere", reason=str(error))
            elif self._account and not told:
                log.info("topup.failed", layer=error.layer, reason=without_address(str(error)))
            return
        log.error("topup.failed", reason=type(error).__name__, exc_info=error)
