"""From a deposit to a book: DEPOSITED … ISSUED (docs/protocol/08 §7, docs/protocol/09 §3).

Signers answer a deposit once. So there is one request for it, stored with its secrets before the first signer sees
it, and repeated as it is. A new one is made only when the old one has become worthless: a book of it would have
expired. Signers that answered the old one go on repeating that answer until they forget it, some days later; the
purchase is simply taken up again until then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final

from nym_credentials.errors import (
    CredentialsError,
    EpochKeysInconsistent,
    IssuanceIncomplete,
    PurchaseConflict,
    printable,
)
from nym_credentials.purchase.epoch_data_io import EpochData
from nym_credentials.purchase.ports import PurchaseStore
from nym_credentials.purchase.records import Issuance, Purchase
from nym_credentials.purchase.shares import ShareCollector
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import AtPoint, Point
from nym_credentials.signers.epoch import Signer, SignerSet
from nym_credentials.signers.pool_io import SignerPool
from zknym import BlindedSignature, EcashError, default_expiration, encode_date, request_withdrawal

PATIENCE_SECONDS: Final = 60.0
"""How long signers that may answer later are asked again before the purchase is left to a later resumption."""

SharesSeen = Callable[[Purchase, int, int, str], None]
"""(purchase, valid shares, shares needed, what a signer did wrong or nothing)."""


def utc_day(now_unix: float) -> date:
    """The day in UTC: all of e-cash counts in those."""
    return datetime.fromtimestamp(now_unix, UTC).date()


class Issuer:
    """Gets the books of deposits."""

    def __init__(
        self,
        store: PurchaseStore,
        epochs: EpochData,
        clock: Callable[[], float],
        at: AtPoint,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._store = store
        self._epochs = epochs
        self._clock = clock
        self._at = at
        self._patience = patience_seconds

    async def issue(self, pool: SignerPool, purchase: Purchase, seen: SharesSeen) -> Purchase:
        """The finished purchase; its book is in the store.

        Raises `IssuanceIncomplete` and other errors of signers and chain: nothing is lost, call again later.
        """
        try:
            purchase = await self._request(pool, purchase)
            return await self._collect(pool, purchase, seen)
        except PurchaseConflict:
            raise  # somebody else goes on with it
        except CredentialsError as error:
            await self._note(purchase, error)
            raise

    async def _request(self, pool: SignerPool, purchase: Purchase) -> Purchase:
        today = utc_day(self._clock())
        issuance = purchase.issuance
        if purchase.state is PurchaseState.REQUESTING and issuance and not issuance.worthless(today):
            return purchase
        signers = await self._epochs.issuing_signers()
        expiration = default_expiration(today)
        await self._epochs.ensure(pool, signers, expiration)
        request, info = await asyncio.to_thread(
            request_withdrawal, purchase.user, encode_date(expiration), purchase.ticket_type
        )
        self._at(Point.REQUEST_MADE)
        fresh = Issuance(signers.epoch_id, expiration, request, info)
        purchase = await self._store.save_purchase(purchase.requesting(fresh))
        self._at(Point.REQUESTING)
        return purchase

    async def _collect(self, pool: SignerPool, purchase: Purchase, seen: SharesSeen) -> Purchase:
        issuance = purchase.issuance
        assert issuance is not None
        current = await self._epochs.issuing_signers()
        epochs = [current]
        # Answers from before a change of keys are those of the old epoch: its signers count as well.
        for epoch_id in {issuance.epoch_id, *(share.epoch_id for share in purchase.shares)}:
            if epoch_id != current.epoch_id:
                epochs.append(await self._epochs.signers_of(epoch_id, current))  # noqa: PERF401
        collector = await asyncio.to_thread(ShareCollector, epochs, issuance, purchase.user, purchase.shares)
        problems: dict[str, str] = {}
        if collector.complete is None:
            request = purchase.sign_request()

            def tell(problem: str = "") -> None:
                best = collector.best
                seen(purchase, collector.count(best.epoch_id), best.threshold, problem)

            async def take(signer: Signer, blinded: BlindedSignature) -> bool:
                nonlocal purchase
                share = await asyncio.to_thread(collector.take, signer, blinded)
                self._at(Point.SHARE_RECEIVED)
                purchase = await self._store.save_purchase(purchase.answered(share))
                self._at(Point.SHARE_STORED)
                tell()
                return collector.complete is not None

            problems = await pool.collect_shares(
                collector.to_ask(),
                request,
                take,
                patience_seconds=self._patience,
                tell=lambda url, why: tell(f"{url} {why}"),
            )
        signers = collector.complete
        if signers is None:
            best, deposit = collector.best, purchase.deposit
            assert deposit is not None
            have = collector.count(best.epoch_id)
            raise IssuanceIncomplete(deposit.deposit_id, have, best.threshold, problems)
        return await self._finish(pool, purchase, collector, signers)

    async def _finish(
        self, pool: SignerPool, purchase: Purchase, collector: ShareCollector, signers: SignerSet
    ) -> Purchase:
        assert purchase.issuance is not None
        master = await self._epochs.ensure(pool, signers, purchase.issuance.expiration)
        try:
            book = await asyncio.to_thread(collector.book, master.key, signers.epoch_id)
        except EcashError as error:
            raise EpochKeysInconsistent(
                f"The shares of epoch {signers.epoch_id} are valid one by one, but not together: {error}",
                "The deposit is kept and tried again.",
            ) from error
        self._at(Point.AGGREGATED)
        purchase = await self._store.finish_purchase(purchase.issued(), book)
        self._at(Point.ISSUED)
        return purchase

    async def _note(self, purchase: Purchase, error: CredentialsError) -> None:
        """Keeps the reason for whoever asks what a pending purchase waits for."""
        why = printable(str(error))
        stored = await self._store.purchase(purchase.id)
        if stored is not None and not stored.state.finished and stored.problem != why:
            with contextlib.suppress(PurchaseConflict):
                await self._store.save_purchase(stored.noted(why))
