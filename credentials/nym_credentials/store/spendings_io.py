"""The ledger of money: what each purchase costs, kept in the transactions that store the purchases.

Budgets are summed over these rows. A check that is set (`StoredPurchases.check`) is asked inside of the transaction
that would add to them, and no other transaction of any replica adds to them meanwhile, so caps hold for all together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from nym_credentials.purchase.records import Purchase
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store.records import Spending
from nym_credentials.store.tables_io import SpendingRow
from zknym import TicketType

COMMITTING: Final = frozenset({PurchaseState.PLANNED, PurchaseState.SIGNED, PurchaseState.BROADCAST})
"""A purchase that gets into one of these may come to cost money: then budgets are asked."""

_NETWORK_CHARACTERS: Final = 100
_ACCOUNT_CHARACTERS: Final = 120
_DENOM_CHARACTERS: Final = 40
"""What fits into the columns."""

_COLUMNS: Final = (
    SpendingRow.purchase_id,
    SpendingRow.network,
    SpendingRow.account,
    SpendingRow.ticket_type,
    SpendingRow.state,
    SpendingRow.price,
    SpendingRow.fee,
    SpendingRow.denom,
    SpendingRow.tx_hash,
    SpendingRow.height,
    SpendingRow.deposit_id,
    SpendingRow.begun_unix,
    SpendingRow.paid_unix,
    SpendingRow.changed_unix,
)


async def note_spending(connection: AsyncConnection, purchase: Purchase, now: int) -> Spending:
    """The line of a purchase as it is now."""
    this = SpendingRow.purchase_id == str(purchase.id)
    before = (
        await connection.execute(select(SpendingRow.begun_unix, SpendingRow.paid_unix).where(this))
    ).first()
    paid_unix = before.paid_unix if before is not None else None
    if purchase.state.paid and paid_unix is None:
        paid_unix = now
    spending = Spending(
        purchase_id=str(purchase.id),
        network=purchase.network[:_NETWORK_CHARACTERS],
        account=purchase.account[:_ACCOUNT_CHARACTERS],
        ticket_type=purchase.ticket_type,
        state=purchase.state,
        price=purchase.price,
        fee=purchase.payment.fee if purchase.payment is not None else 0,
        denom=purchase.denom[:_DENOM_CHARACTERS],
        tx_hash=purchase.payment.tx_hash if purchase.payment is not None else None,
        height=purchase.deposit.height if purchase.deposit is not None else None,
        deposit_id=purchase.deposit.deposit_id if purchase.deposit is not None else None,
        begun_unix=purchase.created_unix,
        paid_unix=paid_unix,
        changed_unix=now,
    )
    await connection.execute(delete(SpendingRow).where(this))
    values = asdict(spending) | {"ticket_type": purchase.ticket_type.label, "state": purchase.state.value}
    await connection.execute(insert(SpendingRow).values(**values))
    return spending


async def read_spendings(connection: AsyncConnection, *, since_unix: int = 0) -> list[Spending]:
    """Lines of purchases that changed since then, oldest first."""
    rows = await connection.execute(
        select(*_COLUMNS)
        .where(SpendingRow.changed_unix >= since_unix)
        .order_by(SpendingRow.begun_unix, SpendingRow.purchase_id)
    )
    typed: dict[str, Callable[[Any], Any]] = {"ticket_type": TicketType.from_label, "state": PurchaseState}
    return [
        Spending(**{name: typed.get(name, _same)(value) for name, value in row.items()})
        for row in rows.mappings()
    ]


def _same(value: Any) -> Any:
    return value
