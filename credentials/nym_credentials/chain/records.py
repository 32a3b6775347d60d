"""What the chain client hands out: plain values, no protocol (docs/protocol/08 §3 to §7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nym_credentials.money import Coin


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the chain has it. ``sequence`` counts its transactions; the key is None before the first one."""

    address: str
    number: int
    sequence: int
    public_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Where a node is: its chain, its latest block and whether it is still catching up."""

    chain_id: str
    height: int
    block_time: datetime
    catching_up: bool = False

    def age_seconds(self, now: float) -> float:
        """Seconds since its latest block; ``now`` in seconds since 1970."""
        return now - self.block_time.timestamp()


@dataclass(frozen=True, slots=True)
class Price:
    """What one ticketbook costs: for everybody, and for this account if it has a price of its own."""

    default: Coin
    reduced: Coin | None = None

    @property
    def best(self) -> Coin:
        """The smaller one: both are accepted."""
        if self.reduced is not None and self.reduced.amount < self.default.amount:
            return self.reduced
        return self.default


@dataclass(frozen=True, slots=True)
class SignedDeposit:
    """A deposit transaction, ready to send. Its hash is known before it is sent: store all of it first."""

    tx_bytes: bytes
    tx_hash: str
    """Upper-case hex of SHA-256."""
    chain_id: str
    account_number: int
    sequence: int
    gas_limit: int
    fee: Coin


@dataclass(frozen=True, slots=True)
class Included:
    """The transaction is in a block and did what it should; one deposit id per message, in their order."""

    height: int
    deposit_ids: tuple[int, ...]
    gas_used: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The transaction is in a block and failed: the fee is spent, nothing was deposited."""

    height: int
    code: int
    codespace: str
    log: str


@dataclass(frozen=True, slots=True)
class Deposit:
    """A deposit as the contract keeps it."""

    deposit_id: int
    public_key: bytes
    """Ed25519, 32 bytes."""


@dataclass(frozen=True, slots=True)
class PaidDeposit:
    """A deposit by the transaction that paid for it."""

    deposit_id: int
    tx_hash: str
    """Upper-case hex."""
    price: Coin | None
    """What went along with it; None if that cannot be told."""
    height: int


@dataclass(frozen=True, slots=True)
class SignerShare:
    """One signer of an epoch. ``key`` are the bytes of its verification key; ``url`` its nym-api, as announced."""

    node_index: int
    key: bytes
    url: str
    owner: str
    verified: bool
