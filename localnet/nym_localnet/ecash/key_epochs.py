"""The keys of the signers, epoch by epoch, and the public signatures made with them (docs/protocol/07 §4–§8, 09 §4).

One trusted party, which is this module, makes the keys of all signers of an epoch; they follow from a seed, so that
a network that comes back has them again. Everything here may be called from several threads.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from nym_localnet.sphinx_keys import derive
from zknym import (
    CoinSignatureSet,
    DateSignatureSet,
    SignerKeys,
    VerificationKey,
    aggregate_coin_indices,
    aggregate_expiration_date,
    aggregate_verification_keys,
    encode_date,
    generate_signers,
    sign_coin_indices,
    sign_expiration_date,
)
from zknym.constants import GROUP_ORDER

WIDE_BYTES: Final = 64
"""so many random bytes reduce to a scalar without a bias that anybody could see"""


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """All keys of one epoch. Secrets of every signer: nothing of the real network holds such a thing."""

    epoch_id: int
    threshold: int
    signers: tuple[SignerKeys, ...] = field(repr=False)
    master: VerificationKey = field(repr=False)

    @classmethod
    def of(cls, epoch_id: int, threshold: int, signers: Sequence[SignerKeys]) -> EpochKeys:
        """With the master key that belongs to them."""
        shares = [(each.index, each.verification) for each in signers]
        return cls(epoch_id, threshold, tuple(signers), aggregate_verification_keys(shares))

    @classmethod
    def generate(cls, seed: bytes, epoch_id: int, threshold: int, signers: int) -> EpochKeys:
        """The keys that this seed has for this epoch."""
        return cls.of(epoch_id, threshold, generate_signers(threshold, signers, draw=scalars(seed, epoch_id)))

    def signer(self, index: int) -> SignerKeys | None:
        """The keys of one signer; None when it has none in this epoch."""
        return next((each for each in self.signers if each.index == index), None)


def scalars(seed: bytes, epoch_id: int) -> Callable[[], int]:
    """An endless row of scalars that follow from a seed."""
    key = derive(seed, "signer keys", epoch_id)
    position = 0

    def draw() -> int:
        nonlocal position
        position += 1
        block = hashlib.blake2b(position.to_bytes(8, "big"), key=key, digest_size=WIDE_BYTES).digest()
        return int.from_bytes(block, "big") % GROUP_ORDER or 1

    return draw


class KeyEpochs:
    """The keys of all epochs that are or were, and the public signatures made so far."""

    def __init__(self) -> None:
        self._epochs: dict[int, EpochKeys] = {}
        self._coins: dict[int, CoinSignatureSet] = {}
        self._dates: dict[tuple[int, date], DateSignatureSet] = {}
        self._partial_coins: dict[tuple[int, int], CoinSignatureSet] = {}
        self._lock = threading.RLock()

    def add(self, keys: EpochKeys) -> None:
        """A new epoch."""
        with self._lock:
            self._epochs[keys.epoch_id] = keys

    def epoch(self, epoch_id: int) -> EpochKeys | None:
        """The keys of an epoch."""
        return self._epochs.get(epoch_id)

    def partial_coins(self, epoch_id: int, index: int) -> CoinSignatureSet:
        """One signer's share of the coin-index signatures. KeyError for an unknown epoch or signer."""
        with self._lock:
            found = self._partial_coins.get((epoch_id, index))
            if found is None:
                keys = self._epochs[epoch_id]
                signatures = sign_coin_indices(self._signer(epoch_id, index).secret, keys.master)
                found = self._partial_coins[epoch_id, index] = CoinSignatureSet(epoch_id, signatures)
            return found

    def partial_dates(self, epoch_id: int, index: int, expiration: date) -> DateSignatureSet:
        """One signer's share of the date signatures. KeyError for an unknown epoch or signer."""
        signatures = sign_expiration_date(self._signer(epoch_id, index).secret, encode_date(expiration))
        return DateSignatureSet(epoch_id, expiration, signatures)

    def known_coins(self, epoch_id: int) -> CoinSignatureSet | None:
        """The whole set, if somebody has asked for it before."""
        return self._coins.get(epoch_id)

    def known_dates(self, epoch_id: int, expiration: date) -> DateSignatureSet | None:
        """The whole set of a date, if somebody has asked for it before."""
        return self._dates.get((epoch_id, expiration))

    def coins(self, epoch_id: int, indices: Sequence[int]) -> CoinSignatureSet:
        """The whole set, out of the shares of these signers, of which there are enough."""
        with self._lock:
            found = self._coins.get(epoch_id)
            if found is None:
                keys = self._epochs[epoch_id]
                shares = [
                    (i, self._signer(epoch_id, i).verification, self.partial_coins(epoch_id, i).signatures)
                    for i in indices[: keys.threshold]
                ]
                signatures = aggregate_coin_indices(shares, keys.master)
                found = self._coins[epoch_id] = CoinSignatureSet(epoch_id, signatures)
            return found

    def dates(self, epoch_id: int, expiration: date, indices: Sequence[int]) -> DateSignatureSet:
        """The whole set of a date, out of the shares of these signers, of which there are enough."""
        with self._lock:
            found = self._dates.get((epoch_id, expiration))
            if found is None:
                keys = self._epochs[epoch_id]
                shares = [
                    (
                        i,
                        self._signer(epoch_id, i).verification,
                        self.partial_dates(epoch_id, i, expiration).signatures,
                    )
                    for i in indices[: keys.threshold]
                ]
                signatures = aggregate_expiration_date(shares, encode_date(expiration), keys.master)
                found = self._dates[epoch_id, expiration] = DateSignatureSet(epoch_id, expiration, signatures)
            return found

    def _signer(self, epoch_id: int, index: int) -> SignerKeys:
        found = self._epochs[epoch_id].signer(index)
        if found is None:
            raise KeyError(index)
        return found
