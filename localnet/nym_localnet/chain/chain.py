"""The chain itself: takes transactions, makes blocks of them, answers queries (docs/protocol/08 §3, §4, §10).

Pure: the caller says when a block is made and what time it is. A transaction goes through the checks of the real
chain twice, when it is submitted (CheckTx) and when its block is made; only the second changes anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from nym_credentials.addresses import ACCOUNT_BYTES, address_of_public_key, check_address, encode_address
from nym_credentials.chain.json_records import load_json
from nym_credentials.chain.messages import (
    EXECUTE_TYPE,
    PUBLIC_KEY_BYTES,
    SEND_TYPE,
    BankSend,
    ExecuteContract,
)
from nym_credentials.chain.transactions import hash_of
from nym_credentials.errors import AddressInvalid, MalformedChainData
from nym_localnet.chain.contract import Call, Contract, Event
from nym_localnet.chain.errors import (
    INSUFFICIENT_FEE,
    INSUFFICIENT_FUNDS,
    NO_SUCH_CONTRACT,
    OUT_OF_GAS,
    UNAUTHORIZED,
    UNKNOWN_ADDRESS,
    WASM,
    WRONG_SEQUENCE,
    ContractError,
    QueryRejected,
    Rejected,
)
from nym_localnet.chain.faults import ChainFaults
from nym_localnet.chain.gas import GasTable, minimum_fee
from nym_localnet.chain.ledger import Account, Ledger
from nym_localnet.chain.transactions import (
    SEND_RESPONSE_TYPE,
    Known,
    Transaction,
    execute_response,
    message_data,
)
from nym_localnet.errors import LocalnetError

FEE_COLLECTOR_NAME: Final = b"fee_collector"
MAX_MEMPOOL: Final = 5000


class AlreadyKnown(LocalnetError):
    """The same bytes were submitted before."""


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """An event of a transaction as nodes publish it."""

    type: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to a submitted transaction. Code 0: it waits for a block."""

    hash: str
    code: int = 0
    log: str = ""
    codespace: str = ""


@dataclass(frozen=True, slots=True)
class TxResult:
    """What became of a transaction in its block."""

    raw: bytes
    height: int
    index: int
    gas_wanted: int
    gas_used: int
    code: int = 0
    data: bytes = b""
    log: str = ""
    codespace: str = ""
    events: tuple[ChainEvent, ...] = ()

    @property
    def hash(self) -> str:
        """Upper-case hex."""
        return hash_of(self.raw)


@dataclass(frozen=True, slots=True)
class Executed:
    """All messages of a transaction went through."""

    data: bytes
    events: tuple[ChainEvent, ...]


@dataclass(slots=True)
class _Blocks:
    height: int
    time_unix: float
    results: dict[str, TxResult] = field(default_factory=dict)
    """by hash, oldest first"""


class Chain:
    """Accounts, contracts, mempool and blocks."""

    def __init__(
        self,
        *,
        chain_id: str,
        prefix: str,
        denom: str,
        genesis_unix: float,
        height: int = 1,
        gas: GasTable | None = None,
        faults: ChainFaults | None = None,
    ) -> None:
        self.chain_id = chain_id
        self.prefix = prefix
        self.denom = denom
        self.ledger = Ledger()
        self.faults = faults or ChainFaults()
        self.gas = gas or GasTable()
        self.on_change: Callable[[], None] = lambda: None
        """called when something has changed that a kept network must not forget"""
        self._contracts: dict[str, Contract] = {}
        self._mempool: dict[str, Transaction] = {}
        self._blocks = _Blocks(height, genesis_unix)
        self._collector = collector_address(prefix)

    def install(self, contract: Contract) -> None:
        """Put a contract at its address."""
        self._contracts[contract.address] = contract

    def contract(self, address: str) -> Contract | None:
        """What lives at an address."""
        return self._contracts.get(address)

    @property
    def height(self) -> int:
        """The number of the newest block."""
        return self._blocks.height

    @property
    def block_unix(self) -> float:
        """When the newest block was made."""
        return self._blocks.time_unix

    @property
    def waiting(self) -> int:
        """Transactions in the mempool."""
        return len(self._mempool)

    def waiting_of(self, address: str) -> int:
        """Transactions of one account in the mempool."""
        return sum(each.sender == address for each in self._mempool.values())

    def result(self, hash_: str) -> TxResult | None:
        """What became of a transaction; None when it is in no block."""
        return self._blocks.results.get(hash_)

    def results(self) -> Iterable[TxResult]:
        """All transactions in blocks, oldest first."""
        return self._blocks.results.values()

    # Submitting

    def submit(self, raw: bytes) -> Submission:
        """CheckTx, and into the mempool. Raises `AlreadyKnown` for bytes that are there or in a block."""
        hash_ = hash_of(raw)
        if hash_ in self._mempool or hash_ in self._blocks.results:
            raise AlreadyKnown("tx already exists in cache")
        refusal, self.faults.refuse_broadcast = self.faults.refuse_broadcast, None
        try:
            if refusal is not None:
                raise Rejected(*refusal)
            transaction = Transaction.decode(raw)
            ahead = [each for each in self._mempool.values() if each.sender == transaction.sender]
            owed = sum(coin.amount for each in ahead for coin in each.signed.fee if coin.denom == self.denom)
            self._check(transaction, ahead=len(ahead), owed=owed)
            if len(self._mempool) >= MAX_MEMPOOL:
                raise Rejected(20, "mempool is full")
        except Rejected as rejected:
            return Submission(hash_, rejected.code, rejected.log, rejected.codespace)
        if not self.faults.lose_transactions:
            self._mempool[hash_] = transaction
        return Submission(hash_)

    def simulate(self, raw: bytes) -> int:
        """Gas that a transaction would use; nothing changes. Raises `QueryRejected`."""
        try:
            transaction = Transaction.decode(raw)
            account = self._account_of(transaction)
            self._check_sequence(transaction, account.sequence)
        except Rejected as rejected:
            raise QueryRejected.unknown(f"{rejected.log} with gas used: '0'") from rejected
        undo = self._snapshot()
        try:
            self._execute(transaction.messages)
        except Rejected as rejected:
            gas = self.gas.failed_simulation
            raise QueryRejected.unknown(f"{rejected.log} with gas used: '{gas}'") from rejected
        finally:
            undo()
        return self.gas.simulated(transaction.messages)

    # Blocks

    def make_block(self, now_unix: float) -> list[TxResult]:
        """The next block, with everything that waits; what became of each transaction."""
        blocks = self._blocks
        blocks.height += 1
        blocks.time_unix = now_unix
        if self.faults.hold_mempool:
            return []
        transactions, self._mempool = list(self._mempool.values()), {}
        made = [self._deliver(transaction, index) for index, transaction in enumerate(transactions)]
        blocks.results.update((result.hash, result) for result in made)
        if made:
            self.on_change()
        return made

    def _deliver(self, transaction: Transaction, index: int) -> TxResult:
        height, wanted = self.height, transaction.signed.gas_limit

        def result(used: int, **outcome: Any) -> TxResult:
            return TxResult(transaction.raw, height, index, wanted, used, **outcome)

        def refused(used: int, rejected: Rejected) -> TxResult:
            return result(used, code=rejected.code, log=rejected.log, codespace=rejected.codespace)

        try:
            self._check(transaction)
            self.ledger.move(transaction.sender, self._collector, transaction.signed.fee)
        except Rejected as rejected:
            return refused(0, rejected)
        self.ledger.signed_by(transaction.sender, transaction.signed.public_key)
        needed = self.gas.used(transaction.messages)
        if wanted < needed:
            text = (
                f"out of gas in location: wasm contract; gasWanted: {wanted}, gasUsed: {needed}: out of gas"
            )
            return refused(needed, Rejected(OUT_OF_GAS, text))
        undo = self._snapshot()
        try:
            executed = self._execute(transaction.messages)
            failure, self.faults.fail_in_block = self.faults.fail_in_block, None
            if failure is not None:
                raise ContractError(failure).in_message(0)
        except Rejected as rejected:
            undo()
            return refused(self.gas.failed, rejected)
        return result(needed, data=executed.data, events=executed.events)

    # Checks

    def _account_of(self, transaction: Transaction) -> Account:
        account = self.ledger.account(transaction.sender)
        if account is None:
            text = f"fee payer address: {transaction.sender} does not exist: unknown address"
            raise Rejected(UNKNOWN_ADDRESS, text)
        return account

    def _check_sequence(self, transaction: Transaction, expected: int) -> None:
        if transaction.signed.sequence != expected:
            raise Rejected(
                WRONG_SEQUENCE,
                f"account sequence mismatch, expected {expected}, got {transaction.signed.sequence}: "
                "incorrect account sequence",
            )

    def _check(self, transaction: Transaction, *, ahead: int = 0, owed: int = 0) -> None:
        """Everything before the messages. `ahead`: transactions of the same account before it, `owed`: their fees."""
        account = self._account_of(transaction)
        self._check_fee(transaction, owed)
        if transaction.signed.timeout_height and transaction.signed.timeout_height <= self.height:
            raise Rejected(30, f"tx timeout height: {transaction.signed.timeout_height}: tx timeout height")
        if any(message.sender != transaction.sender for message in transaction.messages):
            raise Rejected(15, "wrong number of signers; expected 2, got 1: no signatures supplied")
        public_key = transaction.signed.public_key or account.public_key or b""
        if (
            len(public_key) != PUBLIC_KEY_BYTES
            or address_of_public_key(public_key, self.prefix) != account.address
        ):
            raise Rejected(
                8,
                "pubKey does not match signer address "
                f"{account.address} with signer index: 0: invalid pubkey",
            )
        self._check_sequence(transaction, account.sequence + ahead)
        if not transaction.signed.is_signed_by(public_key, self.chain_id, account.number):
            raise Rejected(
                UNAUTHORIZED,
                f"signature verification failed; please verify account number ({account.number}), sequence "
                f"({account.sequence + ahead}) and chain-id ({self.chain_id}): "
                "(unable to verify single signer signature): unauthorized",
            )

    def _check_fee(self, transaction: Transaction, owed: int) -> None:
        offered = sum(coin.amount for coin in transaction.signed.fee if coin.denom == self.denom)
        required = minimum_fee(transaction.signed.gas_limit)
        if transaction.signed.gas_limit == 0:
            raise Rejected(18, "must provide positive gas: invalid request")
        if offered < required:
            shown = ",".join(map(str, transaction.signed.fee))
            text = f"insufficient fees; got: {shown} required: {required}{self.denom}: insufficient fee"
            raise Rejected(INSUFFICIENT_FEE, text)
        spendable = self.ledger.balance(transaction.sender, self.denom) - owed
        if spendable < offered:
            text = f"spendable balance {max(0, spendable)}{self.denom} is smaller than {offered}{self.denom}"
            raise Rejected(INSUFFICIENT_FUNDS, f"{text}: insufficient funds: insufficient funds")

    # Messages

    def _execute(self, messages: tuple[Known, ...]) -> Executed:
        responses: list[tuple[str, bytes]] = []
        events: list[ChainEvent] = []
        for index, message in enumerate(messages):
            try:
                if isinstance(message, BankSend):
                    done = self._send(message)
                    responses.append((SEND_RESPONSE_TYPE, b""))
                else:
                    data, done = self._call(message)
                    responses.append(execute_response(data))
            except Rejected as rejected:
                raise rejected.in_message(index) from rejected
            events += [ChainEvent(each.type, (*each.attributes, ("msg_index", str(index)))) for each in done]
        return Executed(message_data(responses), tuple(events))

    def _send(self, message: BankSend) -> list[ChainEvent]:
        try:
            check_address(message.recipient, self.prefix)
        except AddressInvalid as error:
            raise Rejected(7, f"{error.happened}: invalid address") from error
        self.ledger.move(message.sender, message.recipient, message.amount)
        amount = ",".join(map(str, message.amount))
        return [
            _message_event(message, "bank"),
            ChainEvent(
                "transfer",
                (("recipient", message.recipient), ("sender", message.sender), ("amount", amount)),
            ),
        ]

    def _call(self, message: ExecuteContract) -> tuple[bytes, list[ChainEvent]]:
        contract = self._contracts.get(message.contract)
        if contract is None:
            text = f"contract: not found: address {message.contract}: no such contract"
            raise Rejected(NO_SUCH_CONTRACT, text, WASM)
        try:
            body = load_json(message.msg)
        except MalformedChainData as error:
            raise ContractError("Error parsing into type: not JSON") from error
        self.ledger.move(message.sender, contract.address, message.funds)
        call = Call(message.sender, message.funds, body, self.height, self.block_unix)
        execution = contract.execute(call)
        where = ("_contract_address", contract.address)
        events = [_message_event(message, "wasm"), ChainEvent("execute", (where,))]
        events += [ChainEvent(_wasm_type(each), (where, *each.attributes)) for each in execution.events]
        return execution.data, events

    def _snapshot(self) -> Callable[[], None]:
        ledger = self.ledger.snapshot()
        contracts = [(contract, contract.snapshot()) for contract in self._contracts.values()]

        def undo() -> None:
            self.ledger.restore(ledger)
            for contract, snapshot in contracts:
                contract.restore(snapshot)

        return undo

    # State

    def to_json(self) -> dict[str, Any]:
        """Everything that a kept network needs to go on, except what waits in the mempool."""
        return {
            "chain_id": self.chain_id,
            "height": self.height,
            "time": self.block_unix,
            "ledger": self.ledger.to_json(),
            "contracts": {address: each.to_json() for address, each in self._contracts.items()},
            "results": [_result_json(result) for result in self.results()],
        }

    def load_json(self, value: dict[str, Any]) -> None:
        """The reverse of `to_json`. The contracts have to be installed."""
        self.ledger.load_json(value["ledger"])
        for address, contract in self._contracts.items():
            contract.load_json(value["contracts"][address])
        results = [_load_result(each) for each in value["results"]]
        self._blocks = _Blocks(value["height"], value["time"], {each.hash: each for each in results})


def collector_address(prefix: str) -> str:
    """Where fees go: the address of the module that collects them."""
    return encode_address(prefix, hashlib.sha256(FEE_COLLECTOR_NAME).digest()[:ACCOUNT_BYTES])


def _message_event(message: Known, module: str) -> ChainEvent:
    url = SEND_TYPE if isinstance(message, BankSend) else EXECUTE_TYPE
    return ChainEvent("message", (("action", url), ("sender", message.sender), ("module", module)))


def _wasm_type(event: Event) -> str:
    return f"wasm-{event.type}" if event.type else "wasm"


def _result_json(result: TxResult) -> list[Any]:
    events = [[event.type, [list(pair) for pair in event.attributes]] for event in result.events]
    return [
        result.raw.hex(), result.height, result.index, result.gas_wanted, result.gas_used,
        result.code, result.data.hex(), result.log, result.codespace, events,
    ]  # fmt: skip


def _load_result(value: list[Any]) -> TxResult:
    raw, height, index, wanted, used, code, data, log, codespace, events = value
    return TxResult(
        bytes.fromhex(raw), height, index, wanted, used, code, bytes.fromhex(data), log, codespace,
        tuple(ChainEvent(kind, tuple((key, text) for key, text in pairs)) for kind, pairs in events),
    )  # fmt: skip
