"""Buys ticketbooks, one purchase each, and takes unfinished purchases up again (docs/protocol/08 §7).

The order makes losing money impossible: nothing is signed before enough signers are well and the public data of
their epoch is stored; nothing is sent before it is stored; nothing is asked before its secrets are stored. What went
wrong on the way decides what is reported, never what is remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from nym_credentials.chain.source import PaymentSource, Quote
from nym_credentials.errors import (
    CredentialsError,
    InsufficientFunds,
    PaymentUnconfirmed,
    PriceChanged,
    PurchaseConflict,
    PurchaseDeclined,
    SequenceMismatch,
)
from nym_credentials.money import format_coin
from nym_credentials.purchase.epoch_data_io import EpochData
from nym_credentials.purchase.issuing_io import PATIENCE_SECONDS, Issuer, utc_day
from nym_credentials.purchase.payment_io import CONFIRM_SECONDS, IMPOSSIBLE_AFTER_SECONDS, Cashier, Clock
from nym_credentials.purchase.ports import PurchaseStore, SignerDirectory
from nym_credentials.purchase.records import Purchase
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import AtPoint, Point, Progress, Resumed, Step, nowhere
from nym_credentials.signers.client_io import ConnectorFactory, SignerHttp, SignerHttpOptions
from nym_credentials.signers.pool_io import SignerPool
from zknym import TicketType, UserSecretKey, default_expiration

Confirm = Callable[[Quote], Awaitable[bool]]
"""Asked before anything is signed, and again if the price has risen since."""
Watch = Callable[[Progress], None]
"""Told of every step."""
Turn = Callable[[], contextlib.AbstractAsyncContextManager[object]]

_SEED_BYTES: Final = 32
_ATTEMPTS: Final = 2
"""A purchase is begun once more when another one came first, or the price changed."""
_IN_FLIGHT: Final = (PurchaseState.SIGNED, PurchaseState.BROADCAST)


@dataclass(frozen=True, slots=True)
class BuyerOptions:
    """How patient a buyer is, in seconds."""

    confirm_seconds: float = CONFIRM_SECONDS
    impossible_after_seconds: float = IMPOSSIBLE_AFTER_SECONDS
    patience_seconds: float = PATIENCE_SECONDS
    first_retry_seconds: float = 1.0
    http: SignerHttpOptions = field(default_factory=SignerHttpOptions)


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays, and where: written into every purchase."""

    network: str
    contract: str
    """Address of the ecash contract."""
    account: str


class Buyer:
    """Buys books with one source of payments into one store. One call at a time; others wait."""

    def __init__(
        self,
        store: PurchaseStore,
        source: PaymentSource,
        directory: SignerDirectory,
        payer: Payer,
        *,
        clock: Clock,
        options: BuyerOptions | None = None,
        connector_factory: ConnectorFactory | None = None,
        turn: Turn = contextlib.nullcontext,
        at: AtPoint = nowhere,
    ) -> None:
        """`clock`: Unix seconds. `connector_factory`: how signers are reached. `at`: called at persistence points.

        `turn`: entered while purchases are worked on; keeps other processes with the same store from taking them up
        meanwhile (`turn_io.FileTurn`). Without it nothing is lost either, but one of the two gets a `PurchaseConflict`.
        """
        options = options or BuyerOptions()
        self._store = store
        self._source = source
        self._payer = payer
        self._clock = clock
        self._options = options
        self._connector_factory = connector_factory
        self._at = at
        self._epochs = EpochData(store, directory)
        self._cashier = Cashier(
            store,
            source,
            clock,
            at,
            confirm_seconds=options.confirm_seconds,
            impossible_after_seconds=options.impossible_after_seconds,
        )
        self._issuer = Issuer(store, self._epochs, clock, at, patience_seconds=options.patience_seconds)
        self._lock = asyncio.Lock()
        self._turn = turn

    async def quote(self, count: int = 1) -> Quote:
        """What `count` books cost now. Spends nothing. Raises what the payment source raises."""
        return await self._source.quote(count)

    async def buy(
        self,
        ticket_type: TicketType,
        count: int = 1,
        *,
        confirm: Confirm | None = None,
        watch: Watch | None = None,
    ) -> list[Purchase]:
        """Gets `count` books of a type; returns their finished purchases.

        Unfinished purchases are taken up first. Those of this type count: who repeats a command that was cut short
        does not pay twice. Raises `PaymentUnconfirmed` and `IssuanceIncomplete` when one of them does not get on,
        `PurchaseDeclined` when `confirm` says no, and everything that the parts raise. Books bought before an error
        are in the store.
        """
        if count < 1:
            raise ValueError("at least one book")
        watch = watch or _unwatched
        async with self._lock, self._turn(), self._http() as http:
            pool = self._pool(http)
            resumed = await self._resume(pool, watch)
            bought = _of_type(resumed, ticket_type)[:count]
            stuck = self._stuck(resumed, ticket_type)
            agreed: Quote | None = None
            while len(bought) < count:
                left = count - len(bought)
                if agreed is None:
                    agreed = await self._agree(left, None, confirm)
                purchase, agreed = await self._pay(pool, ticket_type, left, agreed, confirm, watch, stuck)
                bought.append(await self._issue(pool, purchase, watch))
        return bought

    async def resume(self, *, watch: Watch | None = None) -> list[Resumed]:
        """Takes up everything unfinished of this network: to be called at start, and again while something is left.

        Nothing new is paid: at most a transaction that was confirmed and signed before is sent (again).
        """
        async with self._lock, self._turn(), self._http() as http:
            return await self._resume(self._pool(http), watch or _unwatched)

    async def pending(self) -> list[Purchase]:
        """Unfinished purchases of this network and contract, oldest first; of any account."""
        here = (self._payer.network, self._payer.contract)
        unfinished = await self._store.unfinished_purchases()
        return [purchase for purchase in unfinished if (purchase.network, purchase.contract) == here]

    async def _ready(self, pool: SignerPool, purchase: Purchase, watch: Watch) -> None:
        """Nothing is paid for that could not be issued: enough signers are well, their epoch's data is here."""
        watch(Progress(Step.CHECK, purchase))
        signers = await self._epochs.issuing_signers()
        await self._epochs.ensure(pool, signers, default_expiration(utc_day(self._clock())))
        self._at(Point.GLOBAL_DATA)
        quorum = await pool.quorum(signers, self._clock)
        for url, why in quorum.ill.items():
            watch(
                Progress(
                    Step.CHECK, purchase, len(quorum.well), signers.threshold, f"{url} is not well: {why}"
                )
            )
        self._at(Point.QUORUM)

    async def _agree(self, count: int, before: Quote | None, confirm: Confirm | None) -> Quote:
        quote = await self._source.quote(count)
        if quote.balance.amount < quote.total.amount:
            books = "1 book costs" if count == 1 else f"{count} books cost"
            raise InsufficientFunds(
                f"{books} {format_coin(quote.total)} with fees, and {quote.address} has "
                f"{format_coin(quote.balance)}: nothing was paid.",
                f"It is enough for {quote.affordable}." if quote.affordable else "Send NYM to the account.",
            )
        risen = before is not None and quote.price.best.amount > before.price.best.amount
        if confirm is None and risen:
            raise PriceChanged(
                f"The price has risen to {format_coin(quote.price.best)} since it was asked: nothing was paid.",
                "Buy again if you agree.",
            )
        if confirm is not None and (before is None or risen) and not await confirm(quote):
            raise PurchaseDeclined("The price was not agreed to: nothing was paid.")
        return quote

    async def _pay(
        self,
        pool: SignerPool,
        ticket_type: TicketType,
        left: int,
        agreed: Quote,
        confirm: Confirm | None,
        watch: Watch,
        stuck: Sequence[Purchase],
    ) -> tuple[Purchase, Quote]:
        """One deposit, and the quote that it was paid by."""
        for attempt in range(_ATTEMPTS):
            last = attempt + 1 == _ATTEMPTS
            purchase = await self._store.add_purchase(self._plan(ticket_type, agreed))
            self._at(Point.PLANNED)
            try:
                await self._ready(pool, purchase, watch)
                purchase = await self._cashier.sign(purchase, agreed.price.best)
                self._compatible(purchase, stuck)
            except PurchaseConflict:
                raise
            except PriceChanged as error:
                await self._give_up(purchase, error)
                if last:
                    raise
                agreed = await self._agree(left, agreed, confirm)
                continue
            except CredentialsError as error:
                await self._give_up(purchase, error)
                raise
            watch(Progress(Step.PAY, purchase))
            try:
                purchase = await self._cashier.pay(purchase)
            except SequenceMismatch:
                if last:
                    raise
                continue
            watch(Progress(Step.CONFIRM, purchase))
            return purchase, agreed
        raise AssertionError("the last attempt returns or raises")

    def _plan(self, ticket_type: TicketType, agreed: Quote) -> Purchase:
        price = agreed.price.best
        return Purchase(
            id=uuid.uuid4(),
            ticket_type=ticket_type,
            network=self._payer.network,
            contract=self._payer.contract,
            account=self._payer.account,
            price=price.amount,
            denom=price.denom,
            created_unix=int(self._clock()),
            identity_seed=secrets.token_bytes(_SEED_BYTES),
            user=UserSecretKey.generate(),
        )

    def _compatible(self, purchase: Purchase, stuck: Sequence[Purchase]) -> None:
        """A transaction that a node refuses may be passed only by one of the same sequence: one of the two at most
        can ever be included."""
        for other in stuck:
            if other.payment and purchase.payment and other.payment.sequence != purchase.payment.sequence:
                raise PaymentUnconfirmed(other.payment.tx_hash, "a new payment could not replace it")

    async def _give_up(self, purchase: Purchase, error: CredentialsError) -> None:
        """Before anything was sent."""
        stored = await self._store.purchase(purchase.id)
        if stored is not None and stored.state in (PurchaseState.PLANNED, PurchaseState.SIGNED):
            await self._store.save_purchase(stored.given_up(error.happened))

    async def _issue(self, pool: SignerPool, purchase: Purchase, watch: Watch) -> Purchase:
        watch(Progress(Step.ISSUE, purchase))
        purchase = await self._issuer.issue(
            pool,
            purchase,
            lambda current, *seen: watch(Progress(Step.ISSUE, current, *seen)),
        )
        watch(Progress(Step.DONE, purchase))
        return purchase

    async def _resume(self, pool: SignerPool, watch: Watch) -> list[Resumed]:
        results = []
        for purchase in await self.pending():
            try:
                results.append(Resumed(await self._go_on(pool, purchase, watch)))
            except CredentialsError as error:
                stored = await self._store.purchase(purchase.id)
                results.append(Resumed(stored or purchase, error))
        return results

    async def _go_on(self, pool: SignerPool, purchase: Purchase, watch: Watch) -> Purchase:
        """One unfinished purchase to its end."""
        if purchase.state is PurchaseState.PLANNED:
            # Signed by nobody, and agreed to for a price that may have changed.
            return await self._store.save_purchase(purchase.given_up("the process ended before it was paid"))
        if purchase.state in _IN_FLIGHT and purchase.account != self._payer.account:
            purchase = await self._cashier.look(purchase)
        elif purchase.state in _IN_FLIGHT:
            if purchase.state is PurchaseState.SIGNED:
                await self._ready(pool, purchase, watch)
            watch(Progress(Step.CONFIRM, purchase))
            purchase = await self._cashier.resume(purchase)
        return await self._issue(pool, purchase, watch)

    def _stuck(self, resumed: Sequence[Resumed], ticket_type: TicketType) -> list[Purchase]:
        """The payments that a new one may only replace. Raises the error of a purchase that has to get on first."""
        stuck = []
        for item in resumed:
            purchase, error = item.purchase, item.error
            if error is None or purchase.state.finished:
                continue
            if purchase.state in _IN_FLIGHT and purchase.account != self._payer.account:
                continue  # it does not stand in the way of this account's payments
            if purchase.state is PurchaseState.BROADCAST:
                if not (isinstance(error, PaymentUnconfirmed) and error.refused):
                    raise error
                stuck.append(purchase)
            elif purchase.ticket_type is ticket_type:
                raise error
        return stuck

    def _http(self) -> SignerHttp:
        return SignerHttp(options=self._options.http, connector_factory=self._connector_factory)

    def _pool(self, http: SignerHttp) -> SignerPool:
        return SignerPool(http, first_retry_seconds=self._options.first_retry_seconds)


def _of_type(resumed: Sequence[Resumed], ticket_type: TicketType) -> list[Purchase]:
    return [
        item.purchase
        for item in resumed
        if item.purchase.ticket_type is ticket_type and item.purchase.state is PurchaseState.ISSUED
    ]


def _unwatched(_: Progress) -> None:
    """Nobody watches."""
