"""Everything around a buyer: chain, signers, store. Processes that die use it from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nym_credentials.purchase.buyer_io import Buyer, BuyerOptions, Payer
from nym_credentials.purchase.steps import AtPoint, nowhere
from nym_credentials.signers.client_io import SignerHttp, SignerHttpOptions
from tests.credentials.purchase.file_store import FileStore
from tests.credentials.purchase.mini_chain import ACCOUNT, CONTRACT, MiniChain, MiniDirectory, MiniSource
from tests.credentials.signers.mini_signers import Network, running_signers, serve

OPTIONS = BuyerOptions(
    confirm_seconds=0.0,
    patience_seconds=3.0,  # of a busy machine; tests whose signers never answer give less
    first_retry_seconds=0.02,
    http=SignerHttpOptions(timeout_seconds=20.0, status_timeout_seconds=20.0),
)


def make_buyer(
    store: Any,
    chain_url: str,
    clock: Callable[[], float],
    at: AtPoint = nowhere,
    options: BuyerOptions = OPTIONS,
    **more: Any,
) -> Buyer:
    return Buyer(
        store,
        MiniSource(chain_url),
        MiniDirectory(chain_url),
        Payer("mini", CONTRACT, ACCOUNT),
        clock=clock,
        options=options,
        at=at,
        **more,
    )


@dataclass
class PurchaseWorld:
    network: Network
    chain: MiniChain
    chain_url: str
    folder: Path
    others: int = 0

    @property
    def store(self) -> FileStore:
        return FileStore(self.folder / "store.json")

    def buyer(self, at: AtPoint = nowhere, options: BuyerOptions = OPTIONS) -> Buyer:
        return make_buyer(self.store, self.chain_url, lambda: self.network.now, at, options)

    @property
    def signers(self):
        return self.network.signers

    @property
    def deposits(self) -> int:
        return len(self.network.deposits)

    def spoil(self, *faults: str, only: int = 0) -> None:
        """Adds faults to all signers, or to number `only`."""
        for signer in self.signers:
            if only in (0, signer.index):
                signer.faults |= set(faults)

    def heal(self) -> None:
        for signer in self.signers:
            signer.faults.clear()

    async def ask_behind_its_back(self, *indices: int) -> None:
        """Those signers answer the pending request; the buyer never hears of it."""
        (purchase,) = await self.store.unfinished_purchases()
        async with SignerHttp() as http:
            for signer in self.network.signer_set().signers:
                if signer.index in indices:
                    await http.blind_sign(signer, purchase.sign_request())

    def check_books(self, count: int, deposits: int | None = None) -> None:
        """So many valid books and deposits, and nothing paid beyond them."""
        books = self.store.books()
        assert len(books) == count
        for book in books:
            book.verify(epoch_master(self.network, book.epoch_id))
        assert self.deposits == (count if deposits is None else deposits)


def epoch_master(network: Network, epoch_id: int):
    return network.signer_set(epoch_id).master_key()


@asynccontextmanager
async def running_world(folder: Path) -> AsyncIterator[PurchaseWorld]:
    async with running_signers() as network:
        chain = MiniChain(network)
        async with serve(chain.app) as url:
            yield PurchaseWorld(network, chain, url, folder)
