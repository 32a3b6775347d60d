"""What a transaction costs in gas, and the fee that nodes insist on (docs/protocol/08 §4.4).

The numbers are those of the recorded exchanges, so that limits and fees come out in the size of the real network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nym_credentials.chain.messages import BankSend
from nym_localnet.chain.transactions import Known

GAS_PER_FEE_UNIT = 40
"""0.025 unym per unit of gas"""


@dataclass(frozen=True, slots=True)
class GasTable:
    """Units of gas."""

    transaction: int = 100_000
    execute: int = 81_234
    send: int = 12_000
    simulated_surplus: int = 1_913
    """a simulation checks a signature of unknown form and comes out that much higher"""
    failed: int = 140_000
    """used by a transaction whose message fails in a block"""
    failed_simulation: int = 131_000

    def simulated(self, messages: Sequence[Known]) -> int:
        """What a simulation reports."""
        return self.transaction + sum(
            self.send if isinstance(message, BankSend) else self.execute for message in messages
        )

    def used(self, messages: Sequence[Known]) -> int:
        """What the same costs in a block."""
        return self.simulated(messages) - self.simulated_surplus


def minimum_fee(gas_limit: int) -> int:
    """In base units, rounded up."""
    return -(-gas_limit // GAS_PER_FEE_UNIT)
