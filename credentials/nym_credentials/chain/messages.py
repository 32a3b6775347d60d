"""Protobuf messages of queries and transactions (docs/protocol/08 §3, §4.3), through cosmpy's generated classes.

Both directions. Decoding raises `MalformedChainData`. Plain proto3: zero and empty scalars are left out, fields in
ascending order, which is what the generated classes emit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from nym_credentials.chain import cosmos
from nym_credentials.chain.records import Account
from nym_credentials.errors import InvalidAmount, MalformedChainData
from nym_credentials.money import MAX_AMOUNT, Coin

EXECUTE_TYPE: Final = "/cosmwasm.wasm.v1.MsgExecuteContract"
EXECUTE_RESPONSE_TYPE: Final = "/cosmwasm.wasm.v1.MsgExecuteContractResponse"
SEND_TYPE: Final = "/cosmos.bank.v1beta1.MsgSend"
PUBLIC_KEY_TYPE: Final = "/cosmos.crypto.secp256k1.PubKey"
BASE_ACCOUNT_TYPE: Final = "/cosmos.auth.v1beta1.BaseAccount"
PUBLIC_KEY_BYTES: Final = 33
"""A compressed secp256k1 point."""
DEPOSIT_ID_BYTES: Final = 4
"""Message data of a deposit: its id, big-endian."""
_MAX_AMOUNT_DIGITS: Final = 39


def parse(kind: str, data: bytes, what: str) -> Any:
    """The generated class ``kind`` filled from bytes. Raises `MalformedChainData`."""
    message = getattr(cosmos, kind)()
    try:
        message.ParseFromString(data)
    except (cosmos.DecodeError, ValueError):
        raise MalformedChainData(what, f"protobuf of {kind}") from None
    return message


def write(message: Any) -> bytes:
    """The bytes of a generated class."""
    return bytes(message.SerializeToString(deterministic=True))


def read_coin(coin: Any, what: str) -> Coin:
    """A coin out of its generated class."""
    text = coin.amount
    if not (
        text.isascii() and text.isdigit() and len(text) <= _MAX_AMOUNT_DIGITS and int(text) <= MAX_AMOUNT
    ):
        raise MalformedChainData(f"{what}.amount", "a text of digits")
    try:
        return Coin(coin.denom, int(text))
    except InvalidAmount:
        raise MalformedChainData(f"{what}.denom", "a denomination") from None


def write_coin(coin: Coin) -> Any:
    """The generated class of a coin."""
    return cosmos.Coin(denom=coin.denom, amount=str(coin.amount))


# --- queries ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccountQuery:
    """Answer: `AccountAnswer`. Fails for an address that never received coins."""

    PATH: ClassVar = "/cosmos.auth.v1beta1.Query/Account"
    address: str

    def encode(self) -> bytes:
        """The protobuf request."""
        return write(cosmos.QueryAccountRequest(address=self.address))

    @classmethod
    def decode(cls, data: bytes) -> AccountQuery:
        """The inverse of `encode`."""
        return cls(parse("QueryAccountRequest", data, "account query").address)


# How to get from each account type to the base account inside of it: upstream accepts the same ones.
_BASE_VESTING: Final = ("base_vesting_account", "base_account")
_ACCOUNT_TYPES: Final = {
    BASE_ACCOUNT_TYPE: ("BaseAccount", ()),
    "/cosmos.auth.v1beta1.ModuleAccount": ("ModuleAccount", ("base_account",)),
    "/cosmos.vesting.v1beta1.BaseVestingAccount": ("BaseVestingAccount", ("base_account",)),
    "/cosmos.vesting.v1beta1.ContinuousVestingAccount": ("ContinuousVestingAccount", _BASE_VESTING),
    "/cosmos.vesting.v1beta1.DelayedVestingAccount": ("DelayedVestingAccount", _BASE_VESTING),
    "/cosmos.vesting.v1beta1.PeriodicVestingAccount": ("PeriodicVestingAccount", _BASE_VESTING),
    "/cosmos.vesting.v1beta1.PermanentLockedAccount": ("PermanentLockedAccount", _BASE_VESTING),
}


@dataclass(frozen=True, slots=True)
class AccountAnswer:
    """The account of an address."""

    account: Account

    def encode(self) -> bytes:
        """The protobuf response, as a base account."""
        account = self.account
        base = cosmos.BaseAccount(
            address=account.address, account_number=account.number, sequence=account.sequence
        )
        if account.public_key is not None:
            base.pub_key.CopyFrom(public_key_any(account.public_key))
        inner = cosmos.ProtoAny(type_url=BASE_ACCOUNT_TYPE, value=write(base))
        return write(cosmos.QueryAccountResponse(account=inner))

    @classmethod
    def decode(cls, data: bytes) -> AccountAnswer:
        """The inverse of `encode`, for every account type that can pay."""
        inner = parse("QueryAccountResponse", data, "account").account
        if inner.type_url not in _ACCOUNT_TYPES:
            raise MalformedChainData("account.type_url", "an account type that can send transactions")
        kind, path = _ACCOUNT_TYPES[inner.type_url]
        found = parse(kind, inner.value, "account.value")
        for name in path:
            found = getattr(found, name)
        key = read_public_key(found.pub_key) if found.HasField("pub_key") else None
        return cls(Account(found.address, found.account_number, found.sequence, key))


def public_key_any(public_key: bytes) -> Any:
    """A secp256k1 key as the chain wraps it."""
    return cosmos.ProtoAny(type_url=PUBLIC_KEY_TYPE, value=write(cosmos.PubKey(key=public_key)))


def read_public_key(wrapped: Any) -> bytes:
    """The inverse of `public_key_any`."""
    if wrapped.type_url != PUBLIC_KEY_TYPE:
        raise MalformedChainData("public_key.type_url", PUBLIC_KEY_TYPE)
    key = bytes(parse("PubKey", wrapped.value, "public_key").key)
    if len(key) != PUBLIC_KEY_BYTES:
        raise MalformedChainData("public_key.key", f"{PUBLIC_KEY_BYTES} bytes")
    return key


@dataclass(frozen=True, slots=True)
class BalanceQuery:
    """Answer: `BalanceAnswer`; 0 for an address that never received coins."""

    PATH: ClassVar = "/cosmos.bank.v1beta1.Query/Balance"
    address: str
    denom: str

    def encode(self) -> bytes:
        """The protobuf request."""
        return write(cosmos.QueryBalanceRequest(address=self.address, denom=self.denom))

    @classmethod
    def decode(cls, data: bytes) -> BalanceQuery:
        """The inverse of `encode`."""
        found = parse("QueryBalanceRequest", data, "balance query")
        return cls(found.address, found.denom)


@dataclass(frozen=True, slots=True)
class BalanceAnswer:
    """A balance in one denomination."""

    coin: Coin

    def encode(self) -> bytes:
        """The protobuf response."""
        return write(cosmos.QueryBalanceResponse(balance=write_coin(self.coin)))

    @classmethod
    def decode(cls, data: bytes) -> BalanceAnswer:
        """The inverse of `encode`."""
        return cls(read_coin(parse("QueryBalanceResponse", data, "balance").balance, "balance"))


@dataclass(frozen=True, slots=True)
class AllBalancesQuery:
    """What wallets ask to show an account. Answer: `AllBalancesAnswer`; empty for an unknown address."""

    PATH: ClassVar = "/cosmos.bank.v1beta1.Query/AllBalances"
    address: str

    def encode(self) -> bytes:
        """The protobuf request."""
        return write(cosmos.QueryAllBalancesRequest(address=self.address))

    @classmethod
    def decode(cls, data: bytes) -> AllBalancesQuery:
        """The inverse of `encode`. Paging is not looked at: all coins fit into one answer."""
        return cls(parse("QueryAllBalancesRequest", data, "balances query").address)


@dataclass(frozen=True, slots=True)
class AllBalancesAnswer:
    """The balances in all denominations, on one page."""

    coins: tuple[Coin, ...]

    def encode(self) -> bytes:
        """The protobuf response."""
        return write(cosmos.QueryAllBalancesResponse(balances=[write_coin(coin) for coin in self.coins]))

    @classmethod
    def decode(cls, data: bytes) -> AllBalancesAnswer:
        """The inverse of `encode`."""
        found = parse("QueryAllBalancesResponse", data, "balances")
        return cls(tuple(read_coin(coin, "balances") for coin in found.balances))


@dataclass(frozen=True, slots=True)
class SmartQuery:
    """A contract's query. Answer: `SmartAnswer`."""

    PATH: ClassVar = "/cosmwasm.wasm.v1.Query/SmartContractState"
    contract: str
    query: bytes
    """JSON."""

    def encode(self) -> bytes:
        """The protobuf request."""
        return write(cosmos.QuerySmartContractStateRequest(address=self.contract, query_data=self.query))

    @classmethod
    def decode(cls, data: bytes) -> SmartQuery:
        """The inverse of `encode`."""
        found = parse("QuerySmartContractStateRequest", data, "contract query")
        return cls(found.address, bytes(found.query_data))


@dataclass(frozen=True, slots=True)
class SmartAnswer:
    """A contract's answer, JSON."""

    data: bytes

    def encode(self) -> bytes:
        """The protobuf response."""
        return write(cosmos.QuerySmartContractStateResponse(data=self.data))

    @classmethod
    def decode(cls, data: bytes) -> SmartAnswer:
        """The inverse of `encode`."""
        return cls(bytes(parse("QuerySmartContractStateResponse", data, "contract answer").data))


@dataclass(frozen=True, slots=True)
class SimulateQuery:
    """Runs a transaction without a signature. Answer: `SimulateAnswer`."""

    PATH: ClassVar = "/cosmos.tx.v1beta1.Service/Simulate"
    tx_bytes: bytes

    def encode(self) -> bytes:
        """The protobuf request."""
        return write(cosmos.SimulateRequest(tx_bytes=self.tx_bytes))

    @classmethod
    def decode(cls, data: bytes) -> SimulateQuery:
        """The inverse of `encode`."""
        return cls(bytes(parse("SimulateRequest", data, "simulation").tx_bytes))


@dataclass(frozen=True, slots=True)
class SimulateAnswer:
    """Gas that the transaction used."""

    gas_used: int
    gas_wanted: int = 0

    def encode(self) -> bytes:
        """The protobuf response, without the messages' results."""
        gas = cosmos.GasInfo(gas_wanted=self.gas_wanted, gas_used=self.gas_used)
        return write(cosmos.SimulateResponse(gas_info=gas))

    @classmethod
    def decode(cls, data: bytes) -> SimulateAnswer:
        """The inverse of `encode`."""
        found = parse("SimulateResponse", data, "simulation")
        if not found.HasField("gas_info"):
            raise MalformedChainData("simulation.gas_info", "present")
        return cls(found.gas_info.gas_used, found.gas_info.gas_wanted)


# --- what a transaction does ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExecuteContract:
    """Sends ``msg`` (JSON) and ``funds`` to a contract."""

    sender: str
    contract: str
    msg: bytes
    funds: tuple[Coin, ...] = ()

    def to_proto(self) -> Any:
        """As its generated class."""
        return cosmos.MsgExecuteContract(
            sender=self.sender,
            contract=self.contract,
            msg=self.msg,
            funds=[write_coin(c) for c in self.funds],
        )

    def to_any(self) -> Any:
        """As a transaction holds it."""
        return cosmos.ProtoAny(type_url=EXECUTE_TYPE, value=write(self.to_proto()))

    @classmethod
    def decode(cls, value: bytes) -> ExecuteContract:
        """From the value of the wrapper."""
        found = parse("MsgExecuteContract", value, "execute")
        funds = tuple(read_coin(coin, "funds") for coin in found.funds)
        return cls(found.sender, found.contract, bytes(found.msg), funds)


@dataclass(frozen=True, slots=True)
class BankSend:
    """Sends coins to another account."""

    sender: str
    recipient: str
    amount: tuple[Coin, ...]

    def to_proto(self) -> Any:
        """As its generated class."""
        return cosmos.MsgSend(
            from_address=self.sender, to_address=self.recipient, amount=[write_coin(c) for c in self.amount]
        )

    def to_any(self) -> Any:
        """As a transaction holds it."""
        return cosmos.ProtoAny(type_url=SEND_TYPE, value=write(self.to_proto()))

    @classmethod
    def decode(cls, value: bytes) -> BankSend:
        """From the value of the wrapper."""
        found = parse("MsgSend", value, "send")
        return cls(found.from_address, found.to_address, tuple(read_coin(c, "amount") for c in found.amount))


@dataclass(frozen=True, slots=True)
class OtherMessage:
    """A message of a type that this program has no use for."""

    type_url: str
    value: bytes

    def to_any(self) -> Any:
        """As a transaction holds it."""
        return cosmos.ProtoAny(type_url=self.type_url, value=self.value)


Message = ExecuteContract | BankSend | OtherMessage


def read_message(wrapped: Any) -> Message:
    """What a transaction's wrapper holds."""
    if wrapped.type_url == EXECUTE_TYPE:
        return ExecuteContract.decode(bytes(wrapped.value))
    if wrapped.type_url == SEND_TYPE:
        return BankSend.decode(bytes(wrapped.value))
    return OtherMessage(wrapped.type_url, bytes(wrapped.value))


# --- what a transaction returned --------------------------------------------------------------------------------


def deposit_ids_to_data(deposit_ids: Sequence[int]) -> bytes:
    """``tx_result.data`` of a transaction of deposits: one response per message (docs/protocol/08 §4.2)."""
    responses = []
    for deposit_id in deposit_ids:
        response = cosmos.MsgExecuteContractResponse(data=deposit_id.to_bytes(DEPOSIT_ID_BYTES, "big"))
        responses.append(cosmos.ProtoAny(type_url=EXECUTE_RESPONSE_TYPE, value=write(response)))
    return write(cosmos.TxMsgData(msg_responses=responses))


def deposit_ids_from_data(data: bytes) -> tuple[int, ...]:
    """The inverse, in the order of the messages. Raises `MalformedChainData` if any response is not a deposit's."""
    ids = []
    for index, wrapped in enumerate(parse("TxMsgData", data, "tx_result.data").msg_responses):
        where = f"tx_result.data.{index}"
        if wrapped.type_url != EXECUTE_RESPONSE_TYPE:
            raise MalformedChainData(where, "the answer of a contract")
        inner = bytes(parse("MsgExecuteContractResponse", wrapped.value, where).data)
        if len(inner) != DEPOSIT_ID_BYTES:
            raise MalformedChainData(where, f"{DEPOSIT_ID_BYTES} bytes of a deposit id")
        ids.append(int.from_bytes(inner, "big"))
    return tuple(ids)
