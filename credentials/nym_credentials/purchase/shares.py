"""From signers' answers to a book (docs/protocol/09 §3.2, §3.3).

A signer answers a deposit once, with the key that it had then. When the epoch changes in the middle of a purchase
some shares are therefore of the old key and others of the new one. They never mix: each is verified under the keys
that its signer has or had, and a book takes a threshold of shares of one epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nym_credentials.purchase.records import Issuance, SignerShare
from nym_credentials.signers.epoch import Signer, SignerSet
from zknym import (
    BlindedSignature,
    EcashError,
    IssuanceVerification,
    PartialWallet,
    TicketBook,
    UserSecretKey,
    VerificationKey,
    aggregate_wallet,
    unblind,
)


class ShareCollector:
    """The shares of one withdrawal request. `epochs`: the signers of each epoch that may have answered."""

    def __init__(
        self,
        epochs: Sequence[SignerSet],
        issuance: Issuance,
        user: UserSecretKey,
        shares: Iterable[SignerShare] = (),
    ) -> None:
        self._epochs = {signers.epoch_id: signers for signers in epochs}
        self._issuance = issuance
        self._user = user
        self._partial: dict[tuple[int, int], PartialWallet] = {}
        for share in shares:
            signers = self._epochs.get(share.epoch_id)
            signer = signers.by_index(share.node_index) if signers else None
            if signer is None:
                continue
            try:
                self._keep(share.epoch_id, signer, share.blinded)
            except EcashError:
                continue  # the chain names another key for this signer than it did before: ask again

    @property
    def complete(self) -> SignerSet | None:
        """The epoch whose shares suffice for a book."""
        return next((s for s in self._epochs.values() if self.count(s.epoch_id) >= s.threshold), None)

    @property
    def best(self) -> SignerSet:
        """The epoch that lacks the fewest shares."""
        return min(self._epochs.values(), key=lambda s: s.threshold - self.count(s.epoch_id))

    def count(self, epoch_id: int) -> int:
        """Valid shares of an epoch."""
        return sum(epoch == epoch_id for epoch, _ in self._partial)

    def to_ask(self) -> list[Signer]:
        """The signers of every epoch from which no valid share is there, each address once."""
        have = {
            signer.base
            for epoch, index in self._partial
            if (signer := self._epochs[epoch].by_index(index)) is not None
        }
        found = {signer.base: signer for s in self._epochs.values() for signer in s.signers}
        return [signer for url, signer in found.items() if url not in have]

    def take(self, signer: Signer, blinded: BlindedSignature) -> SignerShare:
        """Verifies an answer and keeps it; milliseconds. Raises `IssuanceError`: drop it, and name the signer."""
        wrong: EcashError | None = None
        for epoch_id, signers in self._epochs.items():
            candidate = signers.same_as(signer)
            if candidate is None:
                continue
            try:
                self._keep(epoch_id, candidate, blinded)
            except EcashError as error:
                wrong = wrong or error
            else:
                return SignerShare(epoch_id, candidate.index, blinded)
        raise wrong or IssuanceVerification("the answer of somebody who is no signer")

    def book(self, master: VerificationKey, epoch_id: int) -> TicketBook:
        """The book, unspent and verified; milliseconds. Raises `IssuanceError`."""
        shares = [share for (epoch, _), share in self._partial.items() if epoch == epoch_id]
        wallet = aggregate_wallet(shares, self._user, master)
        return TicketBook.issued(wallet, epoch_id, self._user, self._issuance.expiration)

    def _keep(self, epoch_id: int, signer: Signer, blinded: BlindedSignature) -> None:
        info = self._issuance.info
        self._partial[epoch_id, signer.index] = unblind(blinded, info, self._user, signer.key, signer.index)
