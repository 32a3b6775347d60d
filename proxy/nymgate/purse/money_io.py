"""The money side of one process: the open ticket store, the account, and a buyer. ``money`` says what to open.

Heavy libraries (wallet, protobufs, database) are loaded when they are used: most commands need none of them.
"""

import asyncio
import contextlib
import importlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID

from nym_credentials.errors import CredentialsError, PhraseInvalid, PurchaseConflict
from nymgate.config_layers import environment_name
from nymgate.errors import ConfigError, DataFolderError, StoreBusy
from nymgate.folder_io import private_folder
from nymgate.purse.money import MoneyPlan, NoAccount, StoreKeyChoice, explain_money
from nymgate.sensitive import Sensitive
from nymgate.ways.mixnet_connector_io import mixnet_connector

if TYPE_CHECKING:
    import aiohttp

    from nym_credentials.chain.client_io import ChainClient
    from nym_credentials.chain.source import Quote
    from nym_credentials.chain.wallet import Wallet
    from nym_credentials.purchase.buyer_io import Buyer
    from nym_credentials.purchase.records import Purchase
    from nym_credentials.store.keys import StoreKey
    from nym_credentials.store.records import BookInfo, Restored, Spending
    from nym_credentials.store.store_io import TicketStore
    from nym_credentials.topup.budget import Payment, Refusal
    from nym_credentials.topup.ledger import Ledger
    from nym_credentials.topup.reconcile import Reconciliation

LOCK_POLL_SECONDS: Final = 0.1
PHRASE: Final = "account.phrase"
"""The name of the phrase among the store's secrets."""
_BUYER: Final = "nym_credentials.purchase.smartcontract_buyer_io"
_ALL: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Stock:
    """What there is to pay gateways with."""

    tickets: int
    expires: date | None
    """The last UTC day on which some of them can be spent."""
    unfinished: int
    """Purchases that were paid or may have been, and are no books yet."""


class Money:
    """The open store of a plan: ``async with Money(plan) as money``. Errors are NymgateErrors."""

    def __init__(
        self, plan: MoneyPlan, *, restored: "Restored | None" = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.plan = plan
        self.proxy = plan.proxy
        """The SOCKS address that chain and signers are reached by, if not directly."""
        self.inside: Callable[[], aiohttp.BaseConnector] | None = None
        """Reaches them in a running proxy, which needs no listener for that."""
        self._restored = restored
        self._clock = clock
        self._store: TicketStore | None = None

    async def __aenter__(self) -> Self:
        from nym_credentials.store.records import Restored
        from nym_credentials.store.store_io import TicketStore

        place = self.plan.store
        try:
            private_folder(place.folder)
        except OSError as error:
            raise DataFolderError(
                f"The folder {place.folder} cannot be made: {error.strerror}.",
                "Choose another with --data-dir or store.url, or correct its permissions.",
            ) from error
        with explained():
            self._store = await TicketStore.open(
                place.where,
                key=await asyncio.to_thread(store_key, self.plan.key),
                network=self.plan.network.name,
                restored=self._restored or Restored.REFUSE,
                clock=self._clock,
                folder=place.folder,
            )
            self._store.purchases.check = self._permit
        return self

    def _permit(self, purchase: "Purchase", others: "Sequence[Spending]") -> None:
        """Asked by the store before a purchase is planned or signed, with no other replica paying meanwhile."""
        from nym_credentials.topup.topup_io import BudgetRefused
        from nymgate.purse.budget import judge_purchase

        refusal = judge_purchase(self.plan.limits, purchase, others, self._clock())
        if refusal is not None:
            raise BudgetRefused(refusal)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None

    @property
    def store(self) -> "TicketStore":
        """The open store."""
        assert self._store is not None, "the store is not open"
        return self._store

    @property
    def today(self) -> date:
        """The UTC day."""
        from nym_credentials.tickets.rules import utc_day

        return utc_day(self._clock())

    # ---- the account -------------------------------------------------------------------------------------

    async def phrase(self) -> Sensitive[str] | None:
        """The account's phrase: the configuration's, else the stored one."""
        if self.plan.phrase is not None:
            return self.plan.phrase
        with explained():
            stored = await self.store.secret(PHRASE)
        return None if stored is None else Sensitive(stored.decode())

    async def keep_phrase(self, phrase: Sensitive[str]) -> "Wallet":
        """Checks and keeps a phrase. ConfigError if there is one: its money would be forgotten."""
        wallet = await self._wallet(phrase)
        if self.plan.phrase is not None:
            raise ConfigError(
                f"The account is given by {environment_name(PHRASE)} or a credential, and not kept here.",
                "Change it there, or take it away there first.",
            )
        with explained():
            kept = await self.store.add_secret(PHRASE, " ".join(phrase.reveal().split()).lower().encode())
        if not kept:
            raise ConfigError(
                "An account is set already.",
                "See it with `nymgate account get`; `nymgate account forget` makes room for another.",
            )
        return wallet

    async def forget_phrase(self) -> bool:
        """Whether there was one."""
        with explained():
            return await self.store.forget_secret(PHRASE)

    async def wallet(self) -> "Wallet":
        """The account that pays. NoAccount if there is none."""
        phrase = await self.phrase()
        if phrase is None:
            raise NoAccount
        return await self._wallet(phrase)

    async def _wallet(self, phrase: Sensitive[str]) -> "Wallet":
        def derive() -> "Wallet":
            from nym_credentials.chain.wallet import Wallet

            return Wallet.from_phrase(phrase.reveal(), self.plan.chain.prefix)

        with explained():
            try:
                return await asyncio.to_thread(derive)
            except PhraseInvalid as error:
                raise error from None  # what it came from may quote words

    # ---- the chain ---------------------------------------------------------------------------------------

    @property
    def connector_factory(self) -> "Callable[[], aiohttp.BaseConnector] | None":
        """How chain and signers are reached: None is directly."""
        if self.inside is not None:
            return self.inside
        return None if self.proxy is None else mixnet_connector(*self.proxy)

    @contextlib.asynccontextmanager
    async def chain_client(self) -> "AsyncIterator[ChainClient]":
        """Asks the chain."""
        from nym_credentials.chain.client_io import ChainClient
        from nym_credentials.chain.ways_io import transport_for

        with explained():
            transport = transport_for(self.plan.chain, connector_factory=self.connector_factory)
            try:
                yield ChainClient(self.plan.chain, transport)
            finally:
                await transport.close()

    @contextlib.asynccontextmanager
    async def quoter(self) -> "AsyncIterator[Buyer]":
        """For asking prices only."""
        with explained():
            async with self.any_buyer() as buyer:
                yield buyer

    @contextlib.asynccontextmanager
    async def buyer(self, patience_seconds: float = 5.0, **options: Any) -> "AsyncIterator[Buyer]":
        """Buys books, and takes unfinished purchases up again. StoreBusy while another process does."""
        with explained():
            async with self._turn(patience_seconds), self.any_buyer(**options) as buyer:
                yield buyer

    @contextlib.asynccontextmanager
    async def _turn(self, patience_seconds: float) -> AsyncIterator[None]:
        """Two processes that buy would take each other's purchases for left behind. Ends with its process."""
        deadline = time.monotonic() + patience_seconds
        async with contextlib.AsyncExitStack() as stack:
            while True:
                try:
                    await stack.enter_async_context(self.store.turn())
                    break
                except PurchaseConflict as error:
                    if time.monotonic() >= deadline:
                        raise StoreBusy(
                            "Another nymgate is buying ticketbooks with this store at this moment.",
                            "Wait until it is done; `nymgate tickets pending` shows what it does.",
                        ) from error
                await asyncio.sleep(LOCK_POLL_SECONDS)
            yield

    @contextlib.asynccontextmanager
    async def any_buyer(self, **options: Any) -> "AsyncIterator[Buyer]":
        """A buyer that takes its turn when it buys. Its errors are those of ``nym_credentials``, but NoAccount."""
        wallet = await self.wallet()
        # Loading what signs takes more than a second, and streams are waiting.
        module = await asyncio.to_thread(importlib.import_module, _BUYER)
        async with module.smart_contract_buyer(
            self.plan.chain,
            wallet,
            self.store.purchases,
            clock=self._clock,
            connector_factory=self.connector_factory,
            turn=self.store.turn,
            **options,
        ) as buyer:
            yield buyer

    # ---- the budget --------------------------------------------------------------------------------------

    async def payments(self) -> "list[Payment]":
        """What counts against the caps, of every process that shares the store."""
        from nymgate.purse.budget import payments_of

        with explained():
            return payments_of(await self.store.purchases.spendings())

    async def refusal(self, quote: "Quote", count: int | None = None) -> "Refusal | None":
        """Why so many books (None: those of the quote) may not be bought at this offer; None if they may."""
        from nymgate.purse.budget import judge_quote

        return judge_quote(self.plan.limits, quote, await self.payments(), self._clock(), count)

    # ---- what there is -----------------------------------------------------------------------------------

    async def books(self) -> "list[BookInfo]":
        """Every book, those that expire first in front."""
        with explained():
            return await self.store.books()

    async def unfinished(self) -> "list[Purchase]":
        """Purchases of this network that are not finished, oldest first."""
        with explained():
            purchases = await self.store.purchases.unfinished_purchases()
        return [purchase for purchase in purchases if purchase.network == self.plan.network.name]

    async def ledger(self, *, tickets: bool = False) -> "Ledger":
        """Every deposit and book of the store; with ``tickets`` every ticket that was drawn."""
        from nym_credentials.topup.ledger import Ledger, TicketLine

        with explained():
            entries = await self.store.ledger() if tickets else []
            return Ledger.of(
                await self.store.purchases.purchases(limit=_ALL),
                await self.store.books(),
                [
                    TicketLine(
                        entry.book_id,
                        entry.index,
                        entry.state,
                        entry.settlement,
                        entry.taken_unix,
                        entry.settled_unix,
                    )
                    for entry in entries
                ],
            )

    async def reconcile(self, ledger: "Ledger") -> "dict[str, Reconciliation]":
        """The ledger against the chain, by account: that of now, and all that have paid into this store."""
        from nym_credentials.topup.reconcile import ChainDeposit, reconcile

        accounts = {line.account for line in ledger.deposits}
        if await self.phrase() is not None:
            accounts.add((await self.wallet()).address)
        found: dict[str, Reconciliation] = {}
        async with self.chain_client() as chain:
            for account in sorted(accounts):
                paid = [
                    ChainDeposit(
                        item.deposit_id, item.tx_hash, item.price.amount if item.price else None, item.height
                    )
                    for item in await chain.deposits_of(account)
                ]
                # Nodes forget old transactions; the contract's own list does not.
                listed = {item.deposit_id for item in paid}
                for line in ledger.deposits:
                    number = line.deposit_id
                    if line.account == account and number is not None and number not in listed:
                        purchase = await self.store.purchases.purchase(UUID(line.purchase_id))
                        deposit = await chain.deposit(number)
                        ours = purchase.identity_key if purchase is not None else None
                        if deposit is not None and deposit.public_key == ours:
                            paid.append(ChainDeposit(number, ""))
                found[account] = reconcile(ledger, paid, account=account)
        return found

    async def stock(self) -> Stock:
        """Tickets for entry gateways, until when, and what is still to come."""
        from zknym import TicketType

        today = self.today
        books = [book for book in await self.books() if book.ticket_type is TicketType.MIXNET_ENTRY]
        usable = [book for book in books if book.usable(today)]
        return Stock(
            tickets=sum(book.usable(today) for book in usable),
            expires=max((book.expiration for book in usable), default=None),
            unfinished=len([one for one in await self.unfinished() if one.state.may_be_paid]),
        )


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns errors of ``nym_credentials`` into ours."""
    try:
        yield
    except CredentialsError as error:
        raise explain_money(error) from error


def store_key(choice: StoreKeyChoice) -> "StoreKey | None":
    """The key of the configuration; None for the key file beside the store. Raises StoreKeyWrong."""
    from nym_credentials.store.keyfile_io import read_key_file
    from nym_credentials.store.keys import StoreKey

    if choice.key is not None:
        return StoreKey.from_text(choice.key.reveal(), environment_name("store.key"))
    if choice.passphrase is not None:
        return StoreKey.from_passphrase(choice.passphrase.reveal())
    if choice.key_file:
        return read_key_file(Path(choice.key_file).expanduser())
    return None
