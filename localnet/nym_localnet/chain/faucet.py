"""The faucet: an account with plenty, that sends to whoever asks (docs/protocol/08 §4.3).

What it sends are ordinary, signed transactions of the bank, so they obey every rule of the chain.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from nym_credentials.addresses import check_address
from nym_credentials.chain.messages import BankSend
from nym_credentials.chain.transactions import sign_transaction
from nym_credentials.chain.wallet import Wallet
from nym_credentials.errors import AddressInvalid, InvalidAmount
from nym_credentials.money import Coin, parse_nym
from nym_localnet.chain.chain import Chain
from nym_localnet.chain.gas import minimum_fee
from nym_localnet.errors import LocalnetError

FAUCET_FUNDS: Final = 10**15
"""base units at the beginning: a thousand million NYM"""
GAS_LIMIT: Final = 200_000
MEMO: Final = "faucet"
_UNITS: Final = re.compile(r"[0-9]{1,39}")


class BadRequest(LocalnetError):
    """A request that the faucet does not understand; the text says how it should look."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants how much."""

    address: str
    amount: int
    """base units"""

    @classmethod
    def parse(cls, body: bytes, *, prefix: str, default: int) -> Wish:
        """From `{"address": "n1…", "amount": 5000000}`; the amount may also be a text such as "5 NYM"."""
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BadRequest('say {"address": "n1…", "amount": base units or a text such as "5 NYM"}')
        try:
            check_address(value.get("address"), prefix)
            amount = _amount(value.get("amount"), default)
        except AddressInvalid as error:
            raise BadRequest(f"address: {error}") from error
        except InvalidAmount as error:
            raise BadRequest(f"amount: {error}") from error
        return cls(str(value["address"]), amount)


def _amount(value: Any, default: int) -> int:
    match value:
        case None:
            return default
        case bool():
            pass
        case int() if value > 0:
            return value
        case str() if _UNITS.fullmatch(value) and int(value):
            return int(value)
        case str() if not _UNITS.fullmatch(value) and parse_nym(value):
            return parse_nym(value)
    raise BadRequest("amount: a positive number of base units, or a text such as 5 NYM")


class Faucet:
    """Signs transfers out of the faucet's account."""

    def __init__(self, wallet: Wallet, chain: Chain) -> None:
        self.wallet = wallet
        self._chain = chain

    @property
    def address(self) -> str:
        """The faucet's account."""
        return self.wallet.address

    def next_signer(self) -> tuple[int, int]:
        """Account number and sequence of the next transfer. Not while a block is being made."""
        account = self._chain.ledger.account(self.address)
        if account is None:
            raise LocalnetError("the faucet has no account")
        return account.number, account.sequence + self._chain.waiting_of(self.address)

    def transfer(self, wish: Wish, account_number: int, sequence: int) -> bytes:
        """The signed transaction that fulfils a wish. May run in a thread."""
        chain = self._chain
        return sign_transaction(
            self.wallet,
            [BankSend(self.address, wish.address, (Coin(chain.denom, wish.amount),))],
            memo=MEMO,
            fee=Coin(chain.denom, minimum_fee(GAS_LIMIT)),
            gas_limit=GAS_LIMIT,
            chain_id=chain.chain_id,
            account_number=account_number,
            sequence=sequence,
        )
