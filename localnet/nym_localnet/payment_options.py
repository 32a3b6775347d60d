"""The knobs of a test network that is paid with tickets. Light: importing this loads no networking.

docs/protocol/08 §10 and 09 §10 say what of it other programs rely on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nym_localnet.errors import BadOptions

CHAIN_ID: Final = "nyx"
PREFIX: Final = "n"
DENOM: Final = "unym"
DISPLAY_DENOM: Final = "nym"
EXPONENT: Final = 6
DEFAULT_PRICE: Final = 75_000_000
"""unym per book, docs/protocol/08 §1"""
LEAST_PRICE: Final = 50
MOST_SIGNERS: Final = 64
MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentOptions:
    """Chain, signers and what gateways do with tickets."""

    chain_id: str = CHAIN_ID
    chain_port: int = 0
    """of the JSON-RPC and the faucet; 0 lets the system choose, here and below"""
    first_signer_port: int = 0
    block_seconds: float = 0.3
    initial_epoch: int = 5
    """the number of the first key epoch"""

    signers: int = 3
    threshold: int = 2
    """signers that it takes to issue a book"""

    price: int = DEFAULT_PRICE
    """unym per ticketbook"""
    reduced_prices: Mapping[str, int] = field(default_factory=dict)
    """unym by address, for accounts with a price of their own"""
    balances: Mapping[str, int] = field(default_factory=dict)
    """unym by address that exist from the beginning"""
    faucet_amount: int = 1_000_000_000
    """unym that the faucet gives when it is not told how many"""

    ticket_scale: float = 1.0
    """a ticket grants this part of its bytes; other programs than ours need 1"""
    ticket_penalty: float = 10.0
    """times a ticket's bytes are taken when signers reject it"""
    ticket_retry_seconds: float = 300.0
    """until a gateway asks signers again that did not answer"""

    def __post_init__(self) -> None:
        if not 1 <= self.signers <= MOST_SIGNERS:
            raise BadOptions(f"signers must be 1 to {MOST_SIGNERS}")
        if not 1 <= self.threshold <= self.signers:
            raise BadOptions("the threshold must be at least 1 and at most the number of signers")
        for name in ("chain_port", "first_signer_port"):
            if not 0 <= getattr(self, name) <= MAX_PORT:
                raise BadOptions(f"{name} must be 0 (any) to {MAX_PORT}")
        if self.price < LEAST_PRICE:
            raise BadOptions(f"a book costs at least {LEAST_PRICE} unym, one for each ticket")
        if not all(LEAST_PRICE <= price < self.price for price in self.reduced_prices.values()):
            raise BadOptions(f"reduced prices are at least {LEAST_PRICE} and below the default price")
        if not all(amount >= 0 for amount in self.balances.values()) or self.faucet_amount < 1:
            raise BadOptions("balances cannot be negative, and a faucet gives at least 1 unym")
        if self.block_seconds <= 0 or self.ticket_retry_seconds <= 0:
            raise BadOptions("block_seconds and ticket_retry_seconds must be positive")
        if not 0 < self.ticket_scale < math.inf or self.ticket_penalty < 0 or self.initial_epoch < 0:
            raise BadOptions("ticket_scale is positive, ticket_penalty and initial_epoch not negative")
        if not self.chain_id:
            raise BadOptions("chain_id cannot be empty")
