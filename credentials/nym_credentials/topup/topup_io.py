"""Keeps the store topped up: looks, asks the control, buys one book at a time (docs/protocol/10 §6).

All that is decided is decided in `control` and `budget`; this module only fetches what they need and does what they
say. Of several processes with one store exactly one buys: the one that holds `turn`. It reads the stock, what was
spent and the price anew while it holds it, so that caps hold across all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

from nym_credentials.chain.source import Quote
from nym_credentials.errors import PurchaseDeclined
from nym_credentials.purchase.buyer_io import Confirm, Turn, Watch
from nym_credentials.purchase.records import Purchase
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import Resumed
from nym_credentials.store.records import BookInfo, BookState
from nym_credentials.tickets.rules import utc_day
from nym_credentials.topup.budget import Offer, Payment, Refusal, Spent, judge
from nym_credentials.topup.control import Decision, TopUpControl
from nym_credentials.topup.faults import fault_of
from nym_credentials.topup.hindrances import Hindrance, Supply
from nym_credentials.topup.ledger import Ledger
from nym_credentials.topup.plan import Plan, plan
from nym_credentials.topup.settings import BudgetLimits
from nym_credentials.topup.stock import Lot
from zknym import TicketType

POLL_SECONDS: Final = 30.0
"""The stock is looked at so often at least: use does not announce itself."""
_PAGE: Final = 500
_MONTH_AND_A_BIT_SECONDS: Final = 40 * 86_400
_OPEN: Final = (PurchaseState.SIGNED, PurchaseState.BROADCAST)


class Buys(Protocol):
    """What is needed of a `purchase.buyer_io.Buyer`."""

    async def quote(self, count: int = 1) -> Quote:
        """Price, fee and balance."""
        ...

    async def buy(
        self,
        ticket_type: TicketType,
        count: int = 1,
        *,
        confirm: Confirm | None = None,
        watch: Watch | None = None,
    ) -> list[Purchase]:
        """One book; unfinished purchases are taken up first."""
        ...

    async def resume(self, *, watch: Watch | None = None) -> list[Resumed]:
        """Takes up what is unfinished."""
        ...

    async def pending(self) -> list[Purchase]:
        """What is unfinished."""
        ...


class PurchaseList(Protocol):
    """What is needed of the store's purchases."""

    async def purchases(self, *, limit: int = 100) -> list[Purchase]:
        """Newest first."""
        ...


class Stock(Protocol):
    """What is needed of a `store.store_io.TicketStore`."""

    @property
    def purchases(self) -> PurchaseList:
        """The purchases of all processes."""
        ...

    async def books(self) -> list[BookInfo]:
        """All books."""
        ...


@dataclass(frozen=True, slots=True)
class TopUpStatus:
    """For health, metrics and the command line."""

    supply: Supply
    reason: str
    """In words; empty if all is well."""
    hindrance: Hindrance | None
    retry_unix: float | None
    decision: Decision | None
    """Of the last look."""
    bought: int
    """Books since the start."""
    spent: Spent | None
    """As of the last purchase that was thought about."""
    signer_failures: dict[str, int]
    """In a row, by address."""
    signer_errors: dict[str, int]
    """Since the start."""

    @property
    def has_tickets(self) -> bool:
        """Whether the last look found some."""
        return self.decision is not None and self.decision.assessment.tickets > 0


class TopUp:
    """`run` tops up until cancelled; `step` does one look. Tell `control.meter` of use, and `poke` when it matters."""

    def __init__(
        self,
        control: TopUpControl,
        limits: BudgetLimits,
        stock: Stock,
        buyer: Buys,
        *,
        clock: Callable[[], float],
        ticket_type: TicketType = TicketType.MIXNET_ENTRY,
        sessions: Callable[[], int] = lambda: 1,
        granted: Callable[[], float | None] = lambda: None,
        turn: Turn = contextlib.nullcontext,
        paid_unix: Callable[[Purchase], float | None] = lambda _: None,
        watch: Watch | None = None,
        changed: Callable[[TopUpStatus], None] = lambda _: None,
        failed: Callable[[Exception], None] = lambda _: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`clock`: Unix seconds. `sessions`, `granted`: as `TopUpControl.decide` takes them, now.

        `turn`: entered while something is bought; raises `PurchaseConflict` at once if another process is in it
        (an advisory lock of the database, or a `FileTurn` on a file of its own: not on the buyer's). `paid_unix`:
        when a purchase reached the chain, if the store knows. `changed`: told when the supply or its reason changes,
        and when tickets come after there were none. `failed`: told of every error, to be logged.
        """
        self.control = control
        self.limits = limits
        self._stock = stock
        self._buyer = buyer
        self._clock = clock
        self._type = ticket_type
        self._sessions = sessions
        self._granted = granted
        self._turn = turn
        self._paid_unix = paid_unix
        self._watch = watch
        self._changed = changed
        self._failed = failed
        self._poll = poll_seconds
        self._poked = asyncio.Event()
        self._one = asyncio.Lock()
        self._decision: Decision | None = None
        self._spent: Spent | None = None
        self._bought = 0
        self._seen_open: dict[str, float] = {}
        self._told: tuple[Supply, str, bool] | None = None

    # ---- the loop ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Looks, buys, waits; for ever. No error of a purchase ends it."""
        while True:
            decision = await self.step()
            now = self._clock()
            look = decision.look_unix if decision is not None else now + self._poll
            trouble = self.control.trouble
            if decision is not None and decision.buy and trouble is not None:
                look = trouble.retry_unix
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._poll, max(0.0, look - now))):
                    await self._poked.wait()
            self._poked.clear()

    def poke(self) -> None:
        """Look now: a ticket was taken, funds have come, the configuration has changed."""
        self._poked.set()

    def status(self) -> TopUpStatus:
        """As of the last look."""
        trouble = self.control.trouble
        return TopUpStatus(
            supply=self.control.supply,
            reason=self.control.reason,
            hindrance=trouble.hindrance if trouble is not None else None,
            retry_unix=trouble.retry_unix if trouble is not None else None,
            decision=self._decision,
            bought=self._bought,
            spent=self._spent,
            signer_failures=_signers(self.control.backoff.failures()),
            signer_errors=_signers(self.control.backoff.totals()),
        )

    async def step(self) -> Decision | None:
        """One look, and the purchase that it asks for. None if the store could not be read."""
        async with self._one:
            try:
                decision = await self._look()
                if decision.buy:
                    self._tell()  # a purchase may take minutes, and there may be no ticket until it is done
                    await self._act()
                    decision = await self._look()
            except Exception as error:
                # Whatever it is, a proxy that has tickets left must go on; the error is reported and tried again.
                self._note(error)
                self.control.blind()
                decision = None
            self._tell()
            return decision

    async def now(self) -> list[Purchase]:
        """Buys one book because somebody asks for it, whether it is needed or not. The budget has the last word.

        Raises `BudgetRefused` and what purchases raise.
        """
        async with self._one:
            try:
                return await self._buy()
            finally:
                with contextlib.suppress(Exception):
                    await self._look()
                self._tell()

    async def _look(self) -> Decision:
        now = self._clock()
        unfinished = any(item.ticket_type is self._type for item in await self._buyer.pending())
        self._decision = self.control.decide(
            now,
            lots_of(await self._stock.books(), self._type, utc_day(now)),
            sessions=self._sessions(),
            unfinished=unfinished,
            granted=self._granted(),
        )
        return self._decision

    async def _act(self) -> None:
        try:
            await self._buy(again=True)
        except BudgetRefused as error:
            self.control.refused(self._clock(), error.refusal)
        except Exception as error:
            self._note(error)

    def _note(self, error: Exception) -> None:
        self._failed(error)
        fault = fault_of(error)
        self.control.failed(
            self._clock(), fault.hindrance, fault.text, parties=fault.parties, missing=fault.missing
        )

    def _tell(self) -> None:
        status = self.status()
        told = (status.supply, status.reason, status.has_tickets)
        if told != self._told:
            self._told = told
            self._changed(status)

    # ---- one purchase ------------------------------------------------------------------------------------

    async def _buy(self, *, again: bool = False) -> list[Purchase]:
        """One purchase, or the end of an unfinished one. `again`: look once more when it is our turn."""
        async with self._turn():
            pending = await self._buyer.pending()
            if pending:
                self._remember_open(pending)
                resumed = await self._buyer.resume(watch=self._watch)
                self._remember_paid(resumed)
                mine = [item for item in resumed if item.purchase.ticket_type is self._type]
                for item in mine:
                    if item.error is not None and not item.purchase.state.finished:
                        raise item.error
                done = [item.purchase for item in mine if item.purchase.state is PurchaseState.ISSUED]
                if done:
                    return self._got(done)
                if again:
                    return []
            if again and not (await self._look()).buy:
                return []  # another process has bought meanwhile
            return self._got(await self._pay())

    async def _pay(self) -> list[Purchase]:
        refusals: list[Refusal] = []

        async def confirm(quote: Quote) -> bool:
            refusal = await self._judge(quote)
            if refusal is not None:
                refusals.append(refusal)
            return refusal is None

        try:
            return await self._buyer.buy(self._type, 1, confirm=confirm, watch=self._watch)
        except PurchaseDeclined:
            if refusals:
                raise BudgetRefused(refusals[-1]) from None
            raise

    async def _judge(self, quote: Quote) -> Refusal | None:
        now = self._clock()
        self._spent = Spent.of(await self.payments(), now)
        return judge(self.limits, offer_of(quote), self._spent, now)

    def _got(self, purchases: list[Purchase]) -> list[Purchase]:
        self._bought += len(purchases)
        self.control.bought(self._clock())
        return purchases

    def _remember_open(self, pending: Sequence[Purchase]) -> None:
        for item in pending:
            if item.state in _OPEN:
                self._seen_open.setdefault(str(item.id), 0.0)

    def _remember_paid(self, resumed: Sequence[Resumed]) -> None:
        for item in resumed:
            name = str(item.purchase.id)
            if name in self._seen_open and item.purchase.state not in _OPEN and not self._seen_open[name]:
                self._seen_open[name] = self._clock()

    # ---- what was spent ----------------------------------------------------------------------------------

    async def payments(self) -> list[Payment]:
        """What counts against the caps: by every process that shares the store, for this month and a bit more."""
        limit, since = _PAGE, self._clock() - _MONTH_AND_A_BIT_SECONDS
        while True:
            purchases = await self._stock.purchases.purchases(limit=limit)
            if len(purchases) < limit or purchases[-1].created_unix < since:
                break
            limit *= 4
        return [
            payment_of(item, self._paid_unix(item) or self._seen_open.get(str(item.id)) or None)
            for item in purchases
            if item.state.may_be_paid or item.state is PurchaseState.SIGNED
        ]

    async def plan(self, days: float = 7.0) -> Plan:
        """What will be bought, when and why. Asks for the price; spends nothing."""
        now = self._clock()
        quote = await self._buyer.quote()
        return plan(
            self.control,
            now,
            lots_of(await self._stock.books(), self._type, utc_day(now)),
            limits=self.limits,
            offer=offer_of(quote),
            payments=await self.payments(),
            sessions=self._sessions(),
            days=days,
        )

    async def ledger(self, limit: int = 1_000_000) -> Ledger:
        """Every deposit and book of the store."""
        return Ledger.of(await self._stock.purchases.purchases(limit=limit), await self._stock.books())


class BudgetRefused(PurchaseDeclined):
    """The budget does not permit a purchase: nothing was signed. ``refusal`` says why, and until when."""

    layer = "wallet"

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def _signers(failures: Mapping[str, int]) -> dict[str, int]:
    """Without what is no address: the back-off also knows hindrances by their names."""
    return {name: times for name, times in failures.items() if "://" in name}


def lots_of(books: Sequence[BookInfo], ticket_type: TicketType, today: date) -> list[Lot]:
    """What can be spent: active books of a type that have not expired."""
    return [
        Lot.of(book.usable(today), book.expiration)
        for book in books
        if book.ticket_type is ticket_type and book.state is BookState.ACTIVE and book.usable(today)
    ]


def offer_of(quote: Quote) -> Offer:
    """A quote for one book."""
    return Offer(quote.price.best.amount, quote.fee.amount, quote.balance.amount)


def payment_of(purchase: Purchase, paid_unix: float | None = None) -> Payment:
    """A purchase as it counts against caps."""
    return Payment(purchase.created_unix, purchase.price, purchase.state in _OPEN, paid_unix)
