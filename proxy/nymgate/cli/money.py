"""What the commands about money share: an open store to work with, and how amounts and books are shown."""

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from nymgate.cli.options import Session, SharedFlags, level_flag

if TYPE_CHECKING:
    from nym_credentials.money import Coin
    from nym_credentials.purchase.records import Purchase
    from nym_credentials.store.records import BookInfo, Restored
    from nymgate.purse.money import MoneyPlan
    from nymgate.purse.money_io import Money

T = TypeVar("T")


class MoneyCommand:
    """One invocation: the plan of its configuration, and a way to work with the open store."""

    def __init__(self, shared: SharedFlags, *, flags: dict[str, object] | None = None) -> None:
        """``flags``: settings that the command has flags of its own for."""
        self.session: Session = shared.begin()
        from nymgate.config_layers import data_dir as data_folder
        from nymgate.logs import configure_logs
        from nymgate.networks import resolve_network
        from nymgate.purse.money import money_plan

        level = level_flag(self.session)
        settings = shared.configuration({"log.level": level} | (flags or {})).config
        configure_logs(
            level=level or "warning",
            style="json" if shared.as_json else settings.log.format,
            destinations=settings.log.destinations,
        )
        folder = data_folder(settings, os.environ)
        found = resolve_network(settings.network, folder)
        self.plan: MoneyPlan = money_plan(settings, found, folder / found.name)
        if self.plan.proxy is not None and self.plan.proxy[1] == 0:
            from nymgate.errors import ConfigError

            raise ConfigError(
                "tickets.through_mixnet is set, but listen.mixed takes any free port.",
                "Give its first address a port, so that this command finds the running proxy.",
            )

    def run(self, work: "Callable[[Money], Awaitable[T]]", *, restored: "Restored | None" = None) -> T:
        """Do this with the open store."""
        import asyncio

        from nymgate.purse.money_io import Money

        async def main() -> T:
            async with Money(self.plan, restored=restored) as money:
                return await work(money)

        return asyncio.run(main())


def coin_fields(coin: "Coin") -> dict[str, Any]:
    """For --json."""
    return {"amount": coin.amount, "denom": coin.denom}


def book_fields(book: "BookInfo") -> dict[str, Any]:
    """For --json."""
    return {
        "book": book.book_id,
        "type": book.ticket_type.label,
        "state": book.state.value,
        "source": book.source.value,
        "expires": book.expiration.isoformat(),
        "epoch": book.epoch_id,
        "tickets": book.total,
        "remaining": book.remaining,
        "accepted": book.accepted,
        "given_up": book.given_up,
        "in_use": book.taken,
        "bytes_per_ticket": book.ticket_type.bytes_per_ticket,
        "added_unix": book.added_unix,
        "purchase": book.purchase_id,
    }


def purchase_fields(purchase: "Purchase") -> dict[str, Any]:
    """For --json."""
    return {
        "purchase": str(purchase.id),
        "type": purchase.ticket_type.label,
        "state": purchase.state.value,
        "paid": purchase.state.paid,
        "may_be_paid": purchase.state.may_be_paid,
        "price": coin_fields(purchase.cost),
        "fee": None if purchase.payment is None else purchase.payment.fee,
        "account": purchase.account,
        "transaction": None if purchase.payment is None else purchase.payment.tx_hash,
        "deposit": None if purchase.deposit is None else purchase.deposit.deposit_id,
        "shares": len(purchase.shares),
        "created_unix": purchase.created_unix,
        "problem": purchase.problem,
    }


def purchase_line(purchase: "Purchase") -> str:
    """For people."""
    from nym_credentials.money import format_coin

    money = (
        "paid" if purchase.state.paid else "perhaps paid" if purchase.state.may_be_paid else "nothing paid"
    )
    number = f", deposit {purchase.deposit.deposit_id}" if purchase.deposit is not None else ""
    why = f": {purchase.problem}" if purchase.problem else ""
    return (
        f"{purchase.id}  {purchase.ticket_type.label}  {format_coin(purchase.cost)} {money}{number}  "
        f"({purchase.state.value}){why}"
    )


def show_books(books: "list[BookInfo]") -> None:
    """As text."""
    if not books:
        typer.echo("No tickets. Buy some: nymgate account obtain-ticketbooks --amount 1")
        return
    typer.echo(
        f"{'book':>4}  {'type':<18}  {'left':>4}  {'used':>4}  {'lost':>4}  {'last day':<10}  {'state':<9}  source"
    )
    for book in books:
        typer.echo(
            f"{book.book_id:>4}  {book.ticket_type.label:<18}  {book.remaining:>4}  {book.accepted:>4}  "
            f"{book.given_up:>4}  {book.expiration.isoformat():<10}  {book.state.value:<9}  {book.source.value}"
        )
