"""The signers of one epoch as the chain names them, and the key that they form together (docs/protocol/08 §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from nym_credentials.errors import EpochKeysInconsistent
from zknym import EcashError, VerificationKey, aggregate_verification_keys


@dataclass(frozen=True, slots=True)
class Signer:
    """One signer: its place in the interpolation (from 1), its share of the key, and where it listens."""

    index: int
    key: VerificationKey
    url: str
    """Announced on the chain. Routes are appended to it."""
    owner: str = ""
    """Its account, n1…"""
    identity: bytes | None = None
    """Ed25519 key that signs what it says about itself, 32 bytes; None if the chain does not tell."""

    @property
    def base(self) -> str:
        """The address without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def reachable(self) -> bool:
        """Whether the address is one that can be asked."""
        try:
            parts = urlsplit(self.url)
            return parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class SignerSet:
    """The usable signers of an epoch, and how many of them a book takes."""

    epoch_id: int
    threshold: int
    signers: tuple[Signer, ...]
    issuing: bool = True
    """Whether books can be had now: no key generation is running."""
    wait_seconds: float = 0.0
    """When it is worth looking again, if not."""

    @classmethod
    def of_shares(
        cls,
        epoch_id: int,
        threshold: int | None,
        shares: Sequence[tuple[int, bytes, str, str, bool, bytes | None]],
        *,
        issuing: bool = True,
        wait_seconds: float = 0.0,
    ) -> SignerSet:
        """Out of (node index, key bytes, address, owner, verified, identity) of the chain.

        Unverified and malformed shares are left out: one bad signer does not stop the others. Of two shares with
        one index only the first counts. Raises `EpochKeysInconsistent` for fewer shares than the threshold.
        """
        signers: dict[int, Signer] = {}
        for index, key_bytes, url, owner, verified, identity in shares:
            if not verified or index < 1 or index in signers:
                continue
            try:
                signer = Signer(index, VerificationKey.decode(key_bytes), url, owner, identity)
            except EcashError:
                continue
            if signer.reachable:
                signers[index] = signer
        if threshold is None or threshold < 1 or len(signers) < threshold:
            raise EpochKeysInconsistent(
                f"Epoch {epoch_id} has {len(signers)} usable signers, and {threshold or 'no'} are needed.",
                "Wait for the next key generation of the network; nothing was paid for.",
            )
        return cls(epoch_id, threshold, tuple(signers.values()), issuing, wait_seconds)

    def same_as(self, other: Signer) -> Signer | None:
        """The signer of this epoch that is one of another epoch: at the same address, else of the same account."""
        at_address = (signer for signer in self.signers if signer.base == other.base)
        of_account = (signer for signer in self.signers if other.owner and signer.owner == other.owner)
        return next(at_address, None) or next(of_account, None)

    def by_index(self, index: int) -> Signer | None:
        """The signer with that index."""
        return next((signer for signer in self.signers if signer.index == index), None)

    def master_key(self) -> VerificationKey:
        """The key of the epoch: the same from all shares and from any threshold of them. Tens of milliseconds.

        Raises `EpochKeysInconsistent` when the shares do not belong to one key.
        """
        shares = [(signer.index, signer.key) for signer in self.signers]
        try:
            key = aggregate_verification_keys(shares)
            agrees = (
                len(shares) == self.threshold or aggregate_verification_keys(shares[: self.threshold]) == key
            )
        except EcashError as error:
            raise EpochKeysInconsistent(
                f"The key shares of epoch {self.epoch_id} cannot be put together: {error}",
                "Ask another RPC endpoint, or wait for the next key generation.",
            ) from error
        if not agrees:
            raise EpochKeysInconsistent(
                f"The key shares of epoch {self.epoch_id} do not belong to one key.",
                "Ask another RPC endpoint, or wait for the next key generation.",
            )
        return key
