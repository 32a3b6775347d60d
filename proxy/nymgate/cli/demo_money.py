"""The money of the demo, as `nymgate account` handles it: a new account, the faucet, a deposit, a ticketbook."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nymgate.errors import DemoFailed
from nymgate.sensitive import Sensitive

if TYPE_CHECKING:
    from nym_credentials.purchase.records import Purchase
    from nymgate.cli.demo_show import Show
    from nymgate.purse.money import MoneyPlan
    from nymgate.purse.money_io import Money

FAUCET_UNYM: Final = 100_000_000
ENTROPY_BYTES: Final = 32
Fund = Callable[[str, int], Awaitable[object]]
"""Lets the faucet send so many unym to an address."""


@dataclass(frozen=True, slots=True)
class Bought:
    """What was paid, and for what. Amounts in unym."""

    address: str
    funded: int
    price: int
    fee: int
    left: int
    deposit: int
    tickets: int
    ticket_bytes: int

    @property
    def ticket_price(self) -> float:
        """unym for one ticket, fee included."""
        return (self.price + self.fee) / self.tickets

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "address": self.address,
            "faucet_unym": self.funded,
            "price_unym": self.price,
            "fee_unym": self.fee,
            "left_unym": self.left,
            "deposit": self.deposit,
            "tickets_bought": self.tickets,
            "ticket_bytes": self.ticket_bytes,
        }


async def obtain(show: "Show", plan: "MoneyPlan", fund: Fund) -> Bought:
    """From an empty wallet to a book in the store."""
    from nymgate.purse.money_io import Money

    async with Money(plan) as money:
        return await _obtain(show, money, fund)


async def _obtain(show: "Show", money: "Money", fund: Fund) -> Bought:
    from nym_credentials.chain.wallet import phrase_of
    from nym_credentials.money import format_nym
    from zknym import TICKETS_PER_BOOK, TicketType

    with show.step("a new account, its phrase sealed in the ticket store") as step:
        wallet = await money.keep_phrase(Sensitive(phrase_of(secrets.token_bytes(ENTROPY_BYTES))))
        async with money.chain_client() as chain:
            before = await chain.balance(wallet.address)
        step.result = f"{wallet.address} has {format_nym(before.amount)}"
    with show.step(f"{format_nym(FAUCET_UNYM)} from the faucet") as step:
        await fund(wallet.address, FAUCET_UNYM)
        step.result = "cost: nothing"
    with show.step("a deposit in the e-cash contract, and shares of a ticketbook from the signers") as step:
        async with money.buyer(poll_seconds=0.1) as buyer:
            bought = (await buyer.buy(TicketType.MIXNET_ENTRY))[0]
        price, fee = bought.price, _fee(bought)
        step.result = f"cost: {format_nym(price)} and {format_nym(fee)} fee"
    async with money.chain_client() as chain:
        left = (await chain.balance(wallet.address)).amount
    if left != before.amount + FAUCET_UNYM - price - fee:
        raise DemoFailed(
            f"The account has {format_nym(left)}, which is not what it should have.", "Please report this."
        )
    stock = await money.stock()
    result = Bought(
        address=wallet.address,
        funded=FAUCET_UNYM,
        price=price,
        fee=fee,
        left=left,
        deposit=bought.deposit.deposit_id if bought.deposit is not None else -1,
        tickets=stock.tickets,
        ticket_bytes=TicketType.MIXNET_ENTRY.bytes_per_ticket,
    )
    if stock.tickets != TICKETS_PER_BOOK:
        raise DemoFailed(f"The store has {stock.tickets} tickets.", "Please report this.")
    return result


def _fee(purchase: "Purchase") -> int:
    return purchase.payment.fee if purchase.payment is not None else 0
