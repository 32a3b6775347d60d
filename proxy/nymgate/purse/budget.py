"""The budget of ``[budget]`` against what the ticket store has on record: asked before anything is signed. Pure.

Two askers: the store itself, within the transaction that would add a payment to the record that all replicas share,
and commands, which know the account's balance as well and refuse several books at once.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from nym_credentials.chain.source import Quote
from nym_credentials.money import MAX_AMOUNT
from nym_credentials.purchase.records import Purchase
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store.records import Spending
from nym_credentials.topup.budget import Offer, Payment, Refusal, Spent, judge
from nym_credentials.topup.settings import BudgetLimits

_OPEN: Final = frozenset({PurchaseState.PLANNED, PurchaseState.SIGNED, PurchaseState.BROADCAST})
"""May become a payment today or tomorrow."""


def payments_of(spendings: Iterable[Spending]) -> list[Payment]:
    """What counts against the caps."""
    return [
        Payment(
            line.begun_unix,
            line.price,
            line.state in _OPEN,
            float(line.paid_unix) if line.paid_unix is not None else None,
        )
        for line in spendings
        if line.state in _OPEN or line.state.paid
    ]


def judge_purchase(
    limits: BudgetLimits, purchase: Purchase, others: Sequence[Spending], now: float
) -> Refusal | None:
    """None if this purchase may be signed, all others being what they are. The balance is not looked at."""
    fee = purchase.payment.fee if purchase.payment is not None else 0
    offer = Offer(purchase.price, fee, MAX_AMOUNT)
    return judge(limits, offer, Spent.of(payments_of(others), now), now)


def judge_quote(
    limits: BudgetLimits, quote: Quote, payments: Sequence[Payment], now: float, count: int | None = None
) -> Refusal | None:
    """None if so many books (None: those of the quote) may be bought one after the other, else why the first that
    may not may not."""
    price, fee, balance = quote.price.best.amount, quote.fee.amount, quote.balance.amount
    paid = list(payments)
    for _ in range(quote.count if count is None else count):
        refusal = judge(limits, Offer(price, fee, balance), Spent.of(paid, now), now)
        if refusal is not None:
            return refusal
        paid.append(Payment(now, price))
        balance -= price + fee
    return None
