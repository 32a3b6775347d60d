"""Reads what is known of money: the ticket store, the budget, the top-up, and now and then the account's balance."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

import structlog

from nym_credentials.errors import ClockSkewed, CredentialsError
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store.records import BookInfo, BookState, Spending
from nym_credentials.topup.budget import Spent
from nym_credentials.topup.hindrances import Hindrance
from nymgate.errors import NymgateError
from nymgate.purse.budget import payments_of
from nymgate.purse.money import explain_money
from nymgate.purse.supply import SupplyState, without_address
from nymgate.watch.health import Trouble
from nymgate.watch.snapshot import SHORT_SECONDS_BOUNDS, Budget, Money, Purse, Tally, TicketStock, TopUp
from zknym import TicketType

if TYPE_CHECKING:
    from nymgate.purse.purse_io import Purse as RunningPurse

log = structlog.get_logger("nymgate.observe")

STORE_SECONDS: Final = 1.0
"""What was read from the store is so old at most."""
READ_LIMIT_SECONDS: Final = 2.0
"""Who looks does not wait longer for the store: a database that is gone is when they have to see the rest."""
UNREADABLE_SECONDS: Final = 10.0
"""After that the store is left alone for so long."""
BALANCE_FIRST_SECONDS: Final = 2.0
BALANCE_SECONDS: Final = 1800.0
BALANCE_LOOK_SECONDS: Final = 5.0
_LIMIT_SECONDS: Final = 30.0
MOST_DAYS: Final = 7
"""A book lives so many days beyond the one it was made on."""
_WORTH_A_WORD: Final = frozenset(
    {Hindrance.SIGNERS, Hindrance.CHAIN, Hindrance.FUNDS, Hindrance.WALLET, Hindrance.STORE}
)
"""What is wrong whether or not tickets run low; a cap of the budget is not."""


class MoneyView:
    """The money side of one proxy."""

    def __init__(
        self, purse: "RunningPurse", may_ask: Callable[[], bool], *, clock: Callable[[], float] = time.time
    ) -> None:
        """``may_ask``: whether a question that goes through the mixnet would wake nobody. ``clock``: Unix time."""
        self._purse = purse
        self._may_ask = may_ask
        self._clock = clock
        self._store_seconds = Tally(SHORT_SECONDS_BOUNDS)
        self._read: tuple[Purse, Budget] | None = None
        self._look_at = 0.0
        """When the store may be read again, by the event loop's clock."""
        self._reading = asyncio.Lock()
        self._balance: tuple[int, float] | None = None
        self._deposits = 0
        self.last_price: int | None = None
        """Of a ticketbook, unym."""
        purse.money.store.time_transactions(self._store_seconds.add)

    # ---- what asks nobody ---------------------------------------------------------------------------------

    @property
    def supply(self) -> str:
        """ok, degraded or exhausted."""
        return self._state().state.value

    @property
    def refusing(self) -> bool:
        """Whether streams are refused for want of tickets."""
        return self._purse.refusal() is not None

    def hindrance(self) -> Trouble | None:
        """Why there are few tickets, or soon will be."""
        state = self._state()
        if state.code:
            return Trouble(state.layer, state.code, without_address(state.what), state.todo)
        status = self._purse.topup.status()
        if status.hindrance in _WORTH_A_WORD:
            from nym_credentials.topup.hindrances import WORDS

            words = WORDS[status.hindrance]
            return Trouble(words.layer, status.hindrance.value, words.happened, words.to_do)
        return None

    def clock_trouble(self) -> Trouble | None:
        """Whether this machine's clock is so wrong that gateways would refuse tickets."""
        try:
            self._purse.watch.check(self._clock())
        except ClockSkewed as error:
            ours = explain_money(error)
            return Trouble(ours.layer, ours.code, ours.what, ours.todo)
        return None

    def _state(self) -> SupplyState:
        return self._purse.supply()

    # ---- the store ----------------------------------------------------------------------------------------

    async def read(self) -> Money:
        """Everything about money. What the store says may be a second old; if it cannot be read, older."""
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if now >= self._look_at:
                try:
                    async with asyncio.timeout(READ_LIMIT_SECONDS):
                        self._read = await self._read_store()
                    self._look_at = now + STORE_SECONDS
                except (CredentialsError, NymgateError, TimeoutError) as error:
                    self._look_at = now + UNREADABLE_SECONDS
                    log.warning("store.unreadable", reason=str(error) or "It does not answer in time.")
        purse, budget = self._read or (Purse(), Budget())
        return Money(
            purse=purse,
            budget=budget,
            topup=self._topup(),
            store_seconds=self._store_seconds.seen(),
            clock_skew_seconds=self._purse.watch.skew_seconds,
        )

    async def _read_store(self) -> tuple[Purse, Budget]:
        store = self._purse.money.store
        today = self._purse.money.today
        books = await store.books()
        totals = await store.totals()
        lines = await store.purchases.spendings()
        paid = [line for line in lines if line.state.paid]
        self._deposits = len(paid)
        if lines:
            self.last_price = lines[-1].price
        balance, asked = self._balance or (None, None)
        entry = [one for one in books if one.ticket_type is TicketType.MIXNET_ENTRY and one.usable(today)]
        purse = Purse(
            tickets=stocks(books, today),
            settled={settlement.value: count for settlement, count in totals.by_settlement.items()},
            expires=max(book.expiration for book in entry).isoformat() if entry else None,
            deposits=len(paid),
            deposits_open=sum(line.state is PurchaseState.BROADCAST for line in lines),
            price_unym=sum(line.price for line in paid),
            fees_unym=sum(line.fee for line in paid),
            unfinished=Counter(line.state.value for line in lines if not line.state.finished),
            balance_unym=balance,
            balance_unix=asked,
        )
        return purse, self._budget(lines)

    def _budget(self, lines: Sequence[Spending]) -> Budget:
        limits = self._purse.plan.limits
        spent = Spent.of(payments_of(lines), self._clock())
        caps = {"day": limits.per_day, "month": limits.per_month}
        return Budget(
            {period: cap for period, cap in caps.items() if cap is not None},
            {"day": spent.day, "month": spent.month},
        )

    def _topup(self) -> TopUp:
        status, state = self._purse.topup.status(), self._state()
        assessment = status.decision.assessment if status.decision is not None else None
        hindrance = self.hindrance()
        return TopUp(
            enabled=self._purse.plan.tops_up,
            supply=state.state.value,
            reason=hindrance.what if hindrance is not None else "",
            hindrance=hindrance.code if hindrance is not None else None,
            layer=hindrance.layer if hindrance is not None else None,
            retry_unix=state.retry_unix,
            runs_out_unix=assessment.out_unix if assessment is not None else None,
            tickets_per_day=assessment.per_day if assessment is not None else None,
            bought=status.bought,
            signer_failures=status.signer_failures,
            signer_errors=status.signer_errors,
        )

    # ---- the account --------------------------------------------------------------------------------------

    async def watch_balance(self) -> None:
        """Ask for the balance at the start, after every purchase, and every half hour; never wake the mixnet for it."""
        loop = asyncio.get_running_loop()
        await self.read()  # so that there is something to show if the store is gone when somebody looks
        await asyncio.sleep(BALANCE_FIRST_SECONDS)
        asked_at, deposits = -BALANCE_SECONDS, -1
        while True:
            short = self._state().state.value != "ok"
            due = loop.time() - asked_at >= (BALANCE_SECONDS / 60 if short else BALANCE_SECONDS)
            if (due or deposits != self._deposits) and (self._purse.money.proxy is None or self._may_ask()):
                deposits, asked_at = self._deposits, loop.time()
                await self._ask_balance()
            await asyncio.sleep(BALANCE_LOOK_SECONDS)

    async def _ask_balance(self) -> None:
        money = self._purse.money
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                wallet = await money.wallet()
                async with money.chain_client() as chain:
                    coin = await chain.balance(wallet.address)
        except (NymgateError, CredentialsError, TimeoutError) as error:
            log.debug("balance.unknown", reason=str(error) or type(error).__name__)
        else:
            self._balance = coin.amount, self._clock()
            self._look_at = 0.0


def stocks(books: Iterable[BookInfo], today: date) -> dict[str, TicketStock]:
    """Tickets by type, out of all books that the store has or had."""
    by_type: dict[str, list[BookInfo]] = {}
    for book in books:
        by_type.setdefault(book.ticket_type.label, []).append(book)
    return {label: _stock(ones, today) for label, ones in by_type.items()}


def _stock(books: Sequence[BookInfo], today: date) -> TicketStock:
    days_left: Counter[str] = Counter()
    for book in books:
        if book.usable(today):
            days_left[str(min(MOST_DAYS, (book.expiration - today).days))] += book.usable(today)
    return TicketStock(
        remaining=sum(book.usable(today) for book in books),
        in_use=sum(book.taken for book in books),
        accepted=sum(book.accepted for book in books),
        given_up=sum(book.given_up for book in books),
        expired=sum(_died(book, today) for book in books),
        by_days_left=dict(days_left),
        books=Counter(book.state.value for book in books),
    )


def _died(book: BookInfo, today: date) -> int:
    """Tickets that nobody used in time; those of books given up or exported before are not among them."""
    if book.state not in (BookState.ACTIVE, BookState.EXPIRED) or book.expiration >= today:
        return 0
    return book.end - book.next + book.reverted
