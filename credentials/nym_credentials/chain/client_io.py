"""Asks the chain what a payer needs to know, and prepares and sends deposits (docs/protocol/08 §3 to §6).

Nothing is kept here but what a transport keeps: prices, accounts and chain ids are asked for each time they matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from nym_credentials.chain.contracts import (
    CONTRACT_ATTRIBUTE,
    DEPOSIT_EVENT,
    DEPOSIT_ID_ATTRIBUTE,
    MOST_DEPOSITS_PER_PAGE,
    DepositAnswer,
    DepositsPage,
    DepositTicketBookFunds,
    GetDefaultDepositAmount,
    GetDeposit,
    GetDepositsPaged,
    GetReducedDepositAmount,
    GetRequiredDepositAmount,
    coin_from_json,
    optional_coin_from_json,
)
from nym_credentials.chain.dkg import (
    EpochState,
    GetCurrentEpochState,
    GetCurrentEpochThreshold,
    GetEpochThreshold,
    GetVerificationKeys,
    SharesPage,
    VerificationKeyShare,
    threshold_from_json,
)
from nym_credentials.chain.gas import GAS_MULTIPLIER, GAS_PRICE_AMOUNT, GasPrice, gas_limit
from nym_credentials.chain.json_records import ContractMessage
from nym_credentials.chain.messages import (
    AccountAnswer,
    AccountQuery,
    BalanceAnswer,
    BalanceQuery,
    ExecuteContract,
    SimulateAnswer,
    SimulateQuery,
    SmartAnswer,
    SmartQuery,
    deposit_ids_from_data,
)
from nym_credentials.chain.records import (
    Account,
    Deposit,
    Failed,
    Included,
    NodeStatus,
    PaidDeposit,
    Price,
    SignedDeposit,
    SignerShare,
)
from nym_credentials.chain.refusals import (
    check_tx_error,
    is_missing_account,
    is_waiting_already,
    query_error,
    simulation_error,
)
from nym_credentials.chain.rpc import TxAnswer, tx_query
from nym_credentials.chain.transactions import (
    DEPOSIT_MEMO,
    SignedTransaction,
    hash_of,
    sign_transaction,
    simulation_bytes,
)
from nym_credentials.chain.transport import Transport
from nym_credentials.chain.wallet import Wallet
from nym_credentials.errors import (
    AccountUnfunded,
    DepositIdsUnclear,
    FeeTooHigh,
    InsufficientFunds,
    MalformedChainData,
    QueryRefused,
    WrongChain,
)
from nym_credentials.money import Coin, format_coin
from nym_credentials.networks import ChainNetwork
from zknym import MalformedText, b58decode

FEE_LIMIT: Final = 1_000_000
"""unym per deposit: hundreds of times the usual fee. A node that lies about gas cannot spend more than this."""
_MOST_PAGES: Final = 10_000
"""Of any walk through a contract's list: a contract that never ends its list is not followed for ever."""


class ChainClient:
    """A payer's view of one network. Errors are those of `nym_credentials.errors`, layer "chain" and "wallet"."""

    def __init__(
        self,
        network: ChainNetwork,
        transport: Transport,
        *,
        gas_price: GasPrice | None = None,
        gas_multiplier: float = GAS_MULTIPLIER,
        fee_limit: int = FEE_LIMIT,
    ) -> None:
        """``fee_limit`` in the base denomination, per deposit."""
        self.network = network
        self._transport = transport
        self._gas_price = gas_price or GasPrice(GAS_PRICE_AMOUNT, network.denom)
        self._gas_multiplier = gas_multiplier
        self._fee_limit = fee_limit

    # --- accounts and prices ------------------------------------------------------------------------------------

    async def status(self) -> NodeStatus:
        """Of a node that is on the right chain and up to date, asked now."""
        return await self._transport.status(fresh=True)

    async def balance(self, address: str) -> Coin:
        """In the payment denomination; 0 for an address that never received coins."""
        query = BalanceQuery(address, self.network.denom)
        answer = await self._transport.abci_query(query.PATH, query.encode())
        if answer.code != 0:
            raise query_error(answer, "the balance")
        coin = BalanceAnswer.decode(answer.value).coin
        if coin.denom != self.network.denom:
            raise MalformedChainData("balance.denom", self.network.denom)
        return coin

    async def account(self, address: str) -> Account | None:
        """Number and sequence; None for an address that never received coins."""
        query = AccountQuery(address)
        answer = await self._transport.abci_query(query.PATH, query.encode())
        if is_missing_account(answer):
            return None
        if answer.code != 0:
            raise query_error(answer, "the account")
        account = AccountAnswer.decode(answer.value).account
        if account.address != address:
            raise MalformedChainData("account.address", "the address asked for")
        return account

    async def price_for(self, address: str) -> Price:
        """What a ticketbook costs this account. Old contracts know only the default price, by an older name."""
        contract = self.network.contracts.ecash
        try:
            text = await self._ask(contract, GetDefaultDepositAmount())
        except QueryRefused:
            text = await self._ask(contract, GetRequiredDepositAmount())
        default = coin_from_json(text)
        try:
            reduced = optional_coin_from_json(await self._ask(contract, GetReducedDepositAmount(address)))
        except QueryRefused:
            reduced = None
        if reduced is not None and reduced.denom != default.denom:
            raise MalformedChainData("reduced price", f"in {default.denom}")
        return Price(default, reduced)

    # --- deposits -----------------------------------------------------------------------------------------------

    async def estimate_fee(
        self, public_key: bytes, sender: str, identity_keys: Sequence[bytes], price: Coin
    ) -> Coin:
        """The fee of such a deposit, by simulation: ``public_key`` is the sender's. Nothing is signed."""
        account = await self._existing(sender)
        _, fee = await self._simulate(public_key, account, self._deposits(sender, identity_keys, price))
        return fee

    async def prepare_deposit(
        self, wallet: Wallet, identity_keys: Sequence[bytes], price: Coin
    ) -> SignedDeposit:
        """A signed transaction with one deposit of ``price`` per key (Ed25519, 32 bytes). Nothing is sent.

        Raises, with nothing spent: `AccountUnfunded`, `InsufficientFunds`, `PriceChanged`, `ContractRefused`,
        `FeeTooHigh`, `WrongChain`, and the transport's errors.
        """
        if not identity_keys:
            raise ValueError("a deposit transaction needs at least one key")
        messages = self._deposits(wallet.address, identity_keys, price)
        account = await self._existing(wallet.address)
        balance = await self.balance(wallet.address)
        paid = Coin(price.denom, price.amount * len(identity_keys))
        self._check_funds(balance, paid, None)
        limit, fee = await self._simulate(wallet.public_key, account, messages)
        if fee.amount > self._fee_limit * len(identity_keys):
            raise FeeTooHigh(
                f"The deposit would cost a fee of {format_coin(fee)}, more than this program pays.",
                "The RPC endpoint may be lying about gas: try another.",
            )
        self._check_funds(balance, paid, fee)
        chain_id = (await self._transport.status(fresh=True)).chain_id
        if self.network.chain_id is not None and chain_id != self.network.chain_id:
            raise WrongChain(
                f"The node is on another chain than {self.network.chain_id}.",
                "Name an RPC endpoint of the network.",
            )
        tx_bytes = await asyncio.to_thread(
            sign_transaction,
            wallet,
            messages,
            memo=DEPOSIT_MEMO,
            fee=fee,
            gas_limit=limit,
            chain_id=chain_id,
            account_number=account.number,
            sequence=account.sequence,
        )
        return SignedDeposit(
            tx_bytes, hash_of(tx_bytes), chain_id, account.number, account.sequence, limit, fee
        )

    async def broadcast(self, tx_bytes: bytes) -> None:
        """Hands in a signed transaction; again with the same bytes is harmless.

        Raises `TransactionRefused` and its children, `InsufficientFunds` or `OutOfGas` if CheckTx refused it: these
        bytes spend nothing unless they were handed in earlier. Any other error leaves the outcome open.
        """
        answer = await self._transport.broadcast(tx_bytes)
        if answer.code != 0 and not is_waiting_already(answer):
            raise check_tx_error(answer)

    async def outcome(self, tx_hash: str, deposits: int | None = None) -> Included | Failed | None:
        """What became of a transaction; None while the chain does not know it.

        ``deposits`` is how many it makes. Raises `DepositIdsUnclear` if it was included but the ids cannot be told.
        """
        answer = await self._transport.tx(tx_hash)
        return None if answer is None else self._outcome_of(answer, deposits)

    async def find_deposits(self, public_keys: Sequence[bytes], from_id: int = 0) -> list[Deposit]:
        """Deposits of those keys with an id of at least ``from_id``, in the contract's own list."""
        wanted, found = frozenset(public_keys), []
        start_after = from_id - 1 if from_id > 0 else None
        for _ in range(_MOST_PAGES):
            query = GetDepositsPaged(MOST_DEPOSITS_PER_PAGE, start_after)
            page = DepositsPage.from_json(await self._ask(self.network.contracts.ecash, query))
            for numbered in page.deposits:
                key = numbered.deposit.public_key
                if key in wanted:
                    found.append(Deposit(numbered.id, key))
            if page.start_next_after is None:
                return found
            if start_after is not None and page.start_next_after <= start_after:
                raise MalformedChainData("start_next_after", "larger from page to page")
            start_after = page.start_next_after
        raise MalformedChainData("deposits", f"at most {_MOST_PAGES} pages")

    async def deposit(self, deposit_id: int) -> Deposit | None:
        """One deposit by its id."""
        text = await self._ask(self.network.contracts.ecash, GetDeposit(deposit_id))
        answer = DepositAnswer.from_json(text)
        return None if answer.deposit is None else Deposit(deposit_id, answer.deposit.public_key)

    async def transactions_of(self, sender: str) -> list[TxAnswer]:
        """The account's transactions with the e-cash contract that the node has indexed, oldest first."""
        terms = {"message__sender": sender, "execute___contract_address": self.network.contracts.ecash}
        query, found = tx_query(**terms), list[TxAnswer]()
        for page in range(1, _MOST_PAGES):
            answer = await self._transport.tx_search(query, page)
            found += answer.txs
            if not answer.txs or len(found) >= answer.total:
                break
        return found

    async def deposits_of(self, sender: str) -> list[PaidDeposit]:
        """Every deposit that an account paid for, oldest first, as far as the node has its transactions indexed."""
        found: list[PaidDeposit] = []
        for answer in await self.transactions_of(sender):
            if answer.code == 0:
                found += self._paid_by(answer, sender)
        return found

    # --- signers ------------------------------------------------------------------------------------------------

    async def epoch_state(self) -> EpochState:
        """The current epoch of the signers, and whether they issue."""
        return EpochState.from_json(
            await self._ask(self.network.contracts.coconut_dkg, GetCurrentEpochState())
        )

    async def threshold(self, epoch_id: int | None = None) -> int | None:
        """How many signers are needed in an epoch (None: the current one); None if it has no threshold."""
        query = GetCurrentEpochThreshold() if epoch_id is None else GetEpochThreshold(epoch_id)
        return threshold_from_json(await self._ask(self.network.contracts.coconut_dkg, query))

    async def shares(self, epoch_id: int) -> list[SignerShare]:
        """All signers of an epoch by their index. What cannot be used is left out: malformed keys, repeated indices.

        Unverified ones are in the list, marked as such.
        """
        found: dict[int, SignerShare] = {}
        start_after: str | None = None
        seen: set[str] = set()
        for _ in range(_MOST_PAGES):
            query = GetVerificationKeys(epoch_id, None, start_after)
            page = SharesPage.from_json(await self._ask(self.network.contracts.coconut_dkg, query))
            for share in page.shares:
                usable = _usable(share, epoch_id)
                if usable is not None:
                    found.setdefault(usable.node_index, usable)
            start_after = page.start_next_after
            if start_after is None:
                return [found[index] for index in sorted(found)]
            if start_after in seen:
                raise MalformedChainData("start_next_after", "another one from page to page")
            seen.add(start_after)
        raise MalformedChainData("shares", f"at most {_MOST_PAGES} pages")

    # --- inside -------------------------------------------------------------------------------------------------

    async def _ask(self, contract: str, message: ContractMessage) -> bytes:
        """A contract's answer, JSON."""
        query = SmartQuery(contract, message.to_json())
        answer = await self._transport.abci_query(query.PATH, query.encode())
        if answer.code != 0:
            raise query_error(answer, message.NAME)
        return SmartAnswer.decode(answer.value).data

    async def _existing(self, address: str) -> Account:
        account = await self.account(address)
        if account is None:
            raise AccountUnfunded(address)
        return account

    async def _simulate(
        self, public_key: bytes, account: Account, messages: Sequence[ExecuteContract]
    ) -> tuple[int, Coin]:
        """Gas limit and fee."""
        query = SimulateQuery(simulation_bytes(public_key, account.sequence, messages, DEPOSIT_MEMO))
        answer = await self._transport.abci_query(query.PATH, query.encode())
        if answer.code != 0:
            raise simulation_error(answer)
        limit = gas_limit(SimulateAnswer.decode(answer.value).gas_used, self._gas_multiplier)
        return limit, self._gas_price.fee(limit)

    def _deposits(self, sender: str, identity_keys: Sequence[bytes], price: Coin) -> list[ExecuteContract]:
        return [
            ExecuteContract(
                sender, self.network.contracts.ecash, DepositTicketBookFunds.for_key(key).to_json(), (price,)
            )
            for key in identity_keys
        ]

    def _check_funds(self, balance: Coin, paid: Coin, fee: Coin | None) -> None:
        needed = paid.amount + (fee.amount if fee is not None and fee.denom == paid.denom else 0)
        if balance.denom == paid.denom and balance.amount < needed:
            with_fee = f" and {format_coin(fee)} for the fee" if fee is not None else " and a small fee"
            raise InsufficientFunds(
                f"The account holds {format_coin(balance)}, but {format_coin(paid)} for the deposit{with_fee}"
                " are needed.",
                "Send NYM to it; nothing was spent.",
            )

    def _outcome_of(self, answer: TxAnswer, deposits: int | None) -> Included | Failed:
        if answer.code != 0:
            return Failed(answer.height, answer.code, answer.codespace, answer.log)
        try:
            ids = deposit_ids_from_data(answer.data)
        except MalformedChainData:
            ids = ()
        if not ids or (deposits is not None and len(ids) != deposits):
            ids = self._ids_of_events(answer)
        if not ids or (deposits is not None and len(ids) != deposits):
            raise DepositIdsUnclear(
                f"The transaction {answer.tx_hash} was included at height {answer.height}, but its data does not tell"
                " the ids of its deposits.",
                "They can be found by their public keys.",
                height=answer.height,
            )
        return Included(answer.height, ids, answer.gas_used)

    def _paid_by(self, answer: TxAnswer, sender: str) -> list[PaidDeposit]:
        try:
            messages = SignedTransaction.decode(answer.tx).messages
        except MalformedChainData:
            messages = ()
        prices = [
            message.funds[0] if len(message.funds) == 1 else None
            for message in messages
            if isinstance(message, ExecuteContract)
            and (message.sender, message.contract) == (sender, self.network.contracts.ecash)
            and _is_deposit(message.msg)
        ]
        if messages and not prices:
            return []  # something else that this account asked of the contract
        try:
            outcome = self._outcome_of(answer, len(prices) or None)
        except DepositIdsUnclear:
            return []
        if not isinstance(outcome, Included):
            return []
        prices = prices or [None] * len(outcome.deposit_ids)
        return [
            PaidDeposit(number, answer.tx_hash, price, answer.height)
            for number, price in zip(outcome.deposit_ids, prices, strict=True)
        ]

    def _ids_of_events(self, answer: TxAnswer) -> tuple[int, ...]:
        """The same ids out of the contract's events, in their order."""
        ids = []
        for event in answer.events:
            attributes = dict(event.attributes)
            if (
                event.kind == DEPOSIT_EVENT
                and attributes.get(CONTRACT_ATTRIBUTE) == self.network.contracts.ecash
            ):
                text = attributes.get(DEPOSIT_ID_ATTRIBUTE, "")
                if text.isascii() and text.isdigit():
                    ids.append(int(text))
        return tuple(ids)


def _is_deposit(msg: bytes) -> bool:
    try:
        DepositTicketBookFunds.from_json(msg)
    except MalformedChainData:
        return False
    return True


def _usable(share: VerificationKeyShare, epoch_id: int) -> SignerShare | None:
    try:
        key = b58decode(share.share)
    except MalformedText:
        return None
    if share.epoch_id != epoch_id or share.node_index < 1 or not key:
        return None
    return SignerShare(share.node_index, key, share.announce_address, share.owner, share.verified)
