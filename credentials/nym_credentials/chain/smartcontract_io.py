"""Pays with $NYM: deposits into the e-cash contract on Nyx (docs/protocol/08 §4, §7)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from nym_credentials.chain.client_io import ChainClient
from nym_credentials.chain.contracts import DepositData, DepositTicketBookFunds
from nym_credentials.chain.messages import ExecuteContract
from nym_credentials.chain.records import Failed, Included, SignedDeposit
from nym_credentials.chain.source import Quote, Recovered, Recovery
from nym_credentials.chain.transactions import SignedTransaction
from nym_credentials.chain.wallet import Wallet
from nym_credentials.errors import (
    AccountUnfunded,
    CredentialsError,
    DepositIdsUnclear,
    NodeStale,
    RpcRefused,
    SequenceMismatch,
)
from nym_credentials.money import Coin

FEE_RESERVE: Final = 100_000
"""unym per deposit transaction, where no simulation is possible yet (docs/protocol/08 §4.4)."""
POLL_SECONDS: Final = 1.0
"""Between two looks for the transaction: blocks come every few seconds, on a test network faster."""
_KEY_BYTES: Final = 32


class SmartContractSource:
    """`PaymentSource` for the e-cash contract: one account, one transaction at a time."""

    name: Final = "smartcontract"

    def __init__(
        self,
        client: ChainClient,
        wallet: Wallet,
        *,
        poll_seconds: float = POLL_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._wallet = wallet
        self._poll = poll_seconds
        self._monotonic = monotonic

    @property
    def address(self) -> str:
        """The account that pays."""
        return self._wallet.address

    async def quote(self, count: int = 1) -> Quote:
        """Price, fee and balance now. The fee is simulated if the account could pay one book, else a reserve."""
        price = await self._client.price_for(self.address)
        balance = await self._client.balance(self.address)
        fee, simulated = Coin(price.best.denom, FEE_RESERVE), False
        if balance.amount >= price.best.amount:
            try:
                fee = await self._client.estimate_fee(
                    self._wallet.public_key, self.address, [secrets.token_bytes(_KEY_BYTES)], price.best
                )
                simulated = True
            except AccountUnfunded:
                pass  # balance and account were read at different blocks
        return Quote(count, price, fee, simulated, balance, self.address)

    async def prepare(self, public_keys: Sequence[bytes], price: Coin) -> SignedDeposit:
        """See `ChainClient.prepare_deposit`."""
        return await self._client.prepare_deposit(self._wallet, public_keys, price)

    async def submit(self, deposit: SignedDeposit) -> None:
        """Sends the transaction. If its sequence is used up, it may be by this very transaction: then all is well."""
        try:
            await self._client.broadcast(deposit.tx_bytes)
        except SequenceMismatch:
            if await self.outcome(deposit) is None:
                raise

    async def outcome(self, deposit: SignedDeposit) -> Included | Failed | None:
        """What became of it. Ids that its data does not tell are looked up by the keys inside of the transaction."""
        keys = deposit_keys(deposit)
        try:
            return await self._client.outcome(deposit.tx_hash, len(keys))
        except DepositIdsUnclear as error:
            found = await self._client.find_deposits(keys)
            ids = {entry.public_key: entry.deposit_id for entry in found}
            if any(key not in ids for key in keys):
                raise
            return Included(error.height, tuple(ids[key] for key in keys), 0)

    async def wait(self, deposit: SignedDeposit, seconds: float) -> Included | Failed | None:
        """Asks until it is in a block or ``seconds`` have passed. Errors that may pass are sat out."""
        until = self._monotonic() + seconds
        while True:
            try:
                found = await self._look(deposit)
            except CredentialsError as error:
                if not error.retryable or self._monotonic() >= until:
                    raise
                found = None
            if found is not None or self._monotonic() >= until:
                return found
            await asyncio.sleep(self._poll)

    async def _look(self, deposit: SignedDeposit) -> Included | Failed | None:
        try:
            return await self.outcome(deposit)
        except RpcRefused:  # a node without an index of transactions
            recovered = await self.recover(deposit, deposit_keys(deposit))
        if recovered.what is not Recovery.INCLUDED:
            return recovered.failure
        return Included(recovered.height or 0, recovered.deposit_ids, 0)

    async def recover(self, deposit: SignedDeposit, public_keys: Sequence[bytes]) -> Recovered:
        """After a crash: by hash, by the account's sequence, by its transactions, by the contract's own list.

        Only a node that is up to date is asked. Raises the transport's errors: then nothing is known yet.
        """
        await self._client.status()  # fresh: a node that is behind says "not found" of everything
        known = await self._client_outcome(deposit)
        if known is not None:
            return known
        account = await self._client.account(self.address)
        if account is None or account.sequence <= deposit.sequence:
            return Recovered(Recovery.RESUBMIT)
        height = (await self._client.status()).height
        # The sequence is used up, but the node does not know the hash: it may not index, or index late.
        found = await self._client.find_deposits(public_keys)
        ids = {entry.public_key: entry.deposit_id for entry in found}
        if all(key in ids for key in public_keys):
            return Recovered(Recovery.INCLUDED, None, tuple(ids[key] for key in public_keys))
        again = await self._client_outcome(deposit)
        if again is not None:
            return again
        if (await self._client.status()).height < height:
            raise NodeStale("The endpoints are not at the same height.", "Look again in a minute.")
        return Recovered(Recovery.IMPOSSIBLE)

    async def _client_outcome(self, deposit: SignedDeposit) -> Recovered | None:
        try:
            outcome = await self.outcome(deposit)
        except RpcRefused:
            return None  # a node without an index of transactions: the contract's list decides
        if isinstance(outcome, Included):
            return Recovered(Recovery.INCLUDED, outcome.height, outcome.deposit_ids)
        if isinstance(outcome, Failed):
            return Recovered(Recovery.FAILED, outcome.height, (), outcome)
        return None


def deposit_keys(deposit: SignedDeposit) -> list[bytes]:
    """The public keys that a transaction deposits for, in the order of its messages."""
    keys = []
    for message in SignedTransaction.decode(deposit.tx_bytes).messages:
        if isinstance(message, ExecuteContract):
            text = DepositTicketBookFunds.from_json(message.msg).identity_key
            keys.append(DepositData(text).public_key)
    return keys
