"""The ledger against the chain: is every deposit there that we know of, and do we know of every one that is? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nym_credentials.money import format_nym
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.topup.ledger import Ledger


@dataclass(frozen=True, slots=True)
class ChainDeposit:
    """A deposit of one of our accounts, as the chain has it."""

    deposit_id: int
    tx_hash: str
    """Upper-case hex; empty if only the contract's list was asked."""
    price_unym: int | None = None
    """What was paid; None if the source does not tell."""
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What agrees, and what does not."""

    matched: int
    settled: tuple[str, ...]
    """Ids of purchases that are open here and paid there: take them up again."""
    missing: tuple[str, ...]
    """Ids of purchases that are paid here and not there."""
    unknown: tuple[ChainDeposit, ...]
    """Paid there and not known here: another program uses the account, or this store is not the one that paid."""
    differing: tuple[str, ...]
    """What is there on both sides and says different things, in words."""

    @property
    def balanced(self) -> bool:
        """Whether both sides say the same."""
        return not (self.settled or self.missing or self.unknown or self.differing)

    def lines(self) -> list[str]:
        """For a terminal."""
        same = "1 deposit is" if self.matched == 1 else f"{self.matched} deposits are"
        lines = [f"{same} the same in the ledger and on the chain."]
        lines += [f"Purchase {name} is open here, and paid on the chain: resume it." for name in self.settled]
        lines += [f"Purchase {name} is paid here, and not on the chain." for name in self.missing]
        lines += [
            f"Deposit {item.deposit_id} is on the chain, and not in this ledger"
            + (f" (transaction {item.tx_hash})." if item.tx_hash else ".")
            for item in self.unknown
        ]
        return [*lines, *self.differing]


def reconcile(ledger: Ledger, chain: Sequence[ChainDeposit], *, account: str) -> Reconciliation:
    """Compares the deposits of one account. `chain` has to be all of them, or `missing` means nothing."""
    ours = [line for line in ledger.deposits if line.account == account and line.state.may_be_paid]
    by_id = {item.deposit_id: item for item in chain}
    by_hash = {item.tx_hash: item for item in chain if item.tx_hash}
    found, settled, missing, differing, matched = set(), [], [], [], 0
    for number, count in Counter(item.deposit_id for item in chain).items():
        if count > 1:
            differing.append(f"The chain lists deposit {number} {count} times.")
    for line in ours:
        item = by_id.get(line.deposit_id) if line.deposit_id is not None else by_hash.get(line.tx_hash)
        if item is None:
            if line.state is not PurchaseState.BROADCAST:
                missing.append(line.purchase_id)
            continue
        found.add(item.deposit_id)
        if line.state is PurchaseState.BROADCAST:
            settled.append(line.purchase_id)
            continue
        wrong = []
        if item.tx_hash and line.tx_hash and item.tx_hash != line.tx_hash:
            wrong.append(f"its transaction is {line.tx_hash} here and {item.tx_hash} there")
        if item.price_unym is not None and item.price_unym != line.price_unym:
            wrong.append(
                f"it cost {format_nym(line.price_unym)} here and {format_nym(item.price_unym)} there"
            )
        if wrong:
            differing.append(f"Deposit {item.deposit_id}: {' and '.join(wrong)}.")
        else:
            matched += 1
    unknown = tuple(item for item in by_id.values() if item.deposit_id not in found)
    return Reconciliation(matched, tuple(settled), tuple(missing), unknown, tuple(differing))
