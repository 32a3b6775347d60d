"""Accounts and their money (docs/protocol/08 §3, §4).

An account comes to be when its address first receives coins; until then the chain does not know it. Snapshots are
shallow copies of two dictionaries with immutable values, so that a transaction can be undone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from nym_credentials.money import Coin
from nym_localnet.chain.errors import INSUFFICIENT_FUNDS, Rejected


@dataclass(frozen=True, slots=True)
class Account:
    """What signatures are checked against."""

    address: str
    number: int
    sequence: int = 0
    public_key: bytes | None = None
    """33 bytes, known from the first transaction on"""


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """A state to go back to."""

    accounts: dict[str, Account]
    balances: dict[tuple[str, str], int]


class Ledger:
    """All accounts of the chain."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._balances: dict[tuple[str, str], int] = {}

    def account(self, address: str) -> Account | None:
        """None for an address that never received anything."""
        return self._accounts.get(address)

    def balance(self, address: str, denom: str) -> int:
        """0 where there is nothing, also for an address without account."""
        return self._balances.get((address, denom), 0)

    def balances(self, address: str) -> list[Coin]:
        """Everything an address holds, by denomination."""
        return [
            Coin(denom, amount)
            for (owner, denom), amount in sorted(self._balances.items())
            if owner == address and amount
        ]

    def open_account(self, address: str, *, number: int | None = None) -> Account:
        """The account of an address, new ones with the next free number or the given one."""
        account = self._accounts.get(address)
        if account is None:
            taken = [each.number for each in self._accounts.values()]
            account = Account(address, max(taken, default=-1) + 1 if number is None else number)
            self._accounts[address] = account
        return account

    def update(self, account: Account) -> None:
        """Replace an account."""
        self._accounts[account.address] = account

    def signed_by(self, address: str, public_key: bytes | None) -> None:
        """A transaction of that account is accepted: its sequence rises and its key is known."""
        account = self._accounts[address]
        known = public_key or account.public_key
        self._accounts[address] = replace(account, sequence=account.sequence + 1, public_key=known)

    def mint(self, address: str, coin: Coin) -> None:
        """Coins out of nothing, for genesis."""
        self.open_account(address)
        self._balances[address, coin.denom] = self.balance(address, coin.denom) + coin.amount

    def move(self, sender: str, receiver: str, coins: Iterable[Coin]) -> None:
        """Raises `Rejected` when the sender has less; nothing has moved then."""
        moved = list(coins)
        for coin in moved:
            held = self.balance(sender, coin.denom)
            if held < coin.amount:
                raise Rejected(
                    INSUFFICIENT_FUNDS,
                    f"spendable balance {held}{coin.denom} is smaller than {coin}: insufficient funds",
                )
        for coin in moved:
            self._balances[sender, coin.denom] = self.balance(sender, coin.denom) - coin.amount
            self.mint(receiver, coin)

    def snapshot(self) -> LedgerSnapshot:
        """For `restore`."""
        return LedgerSnapshot(dict(self._accounts), dict(self._balances))

    def restore(self, snapshot: LedgerSnapshot) -> None:
        """Back to a snapshot, which stays good for another time."""
        self._accounts = dict(snapshot.accounts)
        self._balances = dict(snapshot.balances)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "accounts": [
                [each.address, each.number, each.sequence, each.public_key.hex() if each.public_key else None]
                for each in self._accounts.values()
            ],
            "balances": [[owner, denom, amount] for (owner, denom), amount in self._balances.items()],
        }

    def load_json(self, value: dict[str, Any]) -> None:
        """The reverse of `to_json`."""
        self._accounts = {
            address: Account(address, number, sequence, bytes.fromhex(key) if key else None)
            for address, number, sequence, key in value["accounts"]
        }
        self._balances = {(owner, denom): amount for owner, denom, amount in value["balances"]}
