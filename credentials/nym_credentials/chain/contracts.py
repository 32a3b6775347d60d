"""Messages of the e-cash contract and their answers (docs/protocol/08 §4.1, §5).

Both directions: the client writes queries and reads answers, the local chain does the opposite. Also the one query of
the multisig contract that gateways make (docs/protocol/08 §10.1).
"""

# ruff: noqa: RUF009  (`member` declares a field, as `dataclasses.field` does)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from nym_credentials.chain.json_records import (
    COIN,
    TEXT,
    U16,
    U32,
    U64,
    ContractMessage,
    JsonRecord,
    dump_json,
    listed,
    load_json,
    mapped,
    member,
    nested,
    optional,
    parse_message,
    write_coin,
)
from nym_credentials.errors import MalformedChainData
from nym_credentials.money import Coin
from zknym import MalformedText, b58decode, b58encode

IDENTITY_KEY_BYTES: Final = 32
"""Of the Ed25519 public key of a deposit. The contract pads shorter ones silently: always send all."""
DEPOSIT_EVENT: Final = "wasm-deposited-funds"
DEPOSIT_ID_ATTRIBUTE: Final = "deposit-id"
CONTRACT_ATTRIBUTE: Final = "_contract_address"
DEFAULT_DEPOSITS_PER_PAGE: Final = 50
MOST_DEPOSITS_PER_PAGE: Final = 100


# --- executes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DepositTicketBookFunds(ContractMessage):
    """Pays for one ticketbook of any type. The key is base58 of 32 bytes."""

    NAME: ClassVar = "deposit_ticket_book_funds"
    identity_key: str = member(TEXT)

    @classmethod
    def for_key(cls, public_key: bytes) -> DepositTicketBookFunds:
        """The message for an Ed25519 public key of 32 bytes."""
        if len(public_key) != IDENTITY_KEY_BYTES:
            raise ValueError("the public key of a deposit has 32 bytes")
        return cls(b58encode(public_key))


@dataclass(frozen=True, slots=True)
class RequestRedemption(ContractMessage):
    """Gateways, legacy."""

    NAME: ClassVar = "request_redemption"
    commitment_bs58: str = member(TEXT)
    number_of_tickets: int = member(U16)


@dataclass(frozen=True, slots=True)
class RedeemTickets(ContractMessage):
    """Multisig only; counts, moves nothing."""

    NAME: ClassVar = "redeem_tickets"
    n: int = member(U16)
    gw: str = member(TEXT)


@dataclass(frozen=True, slots=True)
class UpdateAdmin(ContractMessage):
    """Admin only."""

    NAME: ClassVar = "update_admin"
    admin: str = member(TEXT)


@dataclass(frozen=True, slots=True)
class UpdateDefaultDepositValue(ContractMessage):
    """Admin only: another price for everybody."""

    NAME: ClassVar = "update_default_deposit_value"
    new_deposit: Coin = member(COIN)


@dataclass(frozen=True, slots=True)
class SetReducedDepositPrice(ContractMessage):
    """Admin only: another price for one account."""

    NAME: ClassVar = "set_reduced_deposit_price"
    address: str = member(TEXT)
    deposit: Coin = member(COIN)


@dataclass(frozen=True, slots=True)
class RemoveReducedDepositPrice(ContractMessage):
    """Admin only."""

    NAME: ClassVar = "remove_reduced_deposit_price"
    address: str = member(TEXT)


@dataclass(frozen=True, slots=True)
class ProposeToBlacklist(ContractMessage):
    """Not implemented by the contract: always an error."""

    NAME: ClassVar = "propose_to_blacklist"
    public_key: str = member(TEXT)


@dataclass(frozen=True, slots=True)
class AddToBlacklist(ContractMessage):
    """Not implemented by the contract: always an error."""

    NAME: ClassVar = "add_to_blacklist"
    public_key: str = member(TEXT)


@dataclass(frozen=True, slots=True)
class InstantiateEcash(JsonRecord):
    """What the contract is created with."""

    holding_account: str = member(TEXT)
    multisig_addr: str = member(TEXT)
    group_addr: str = member(TEXT)
    deposit_amount: Coin = member(COIN)


# --- queries ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetDefaultDepositAmount(ContractMessage):
    """Answer: a coin."""

    NAME: ClassVar = "get_default_deposit_amount"


@dataclass(frozen=True, slots=True)
class GetRequiredDepositAmount(ContractMessage):
    """The older name of the former, for contracts that know only that."""

    NAME: ClassVar = "get_required_deposit_amount"


@dataclass(frozen=True, slots=True)
class GetReducedDepositAmount(ContractMessage):
    """Answer: a coin, or null for an account without a price of its own."""

    NAME: ClassVar = "get_reduced_deposit_amount"
    address: str = member(TEXT)


@dataclass(frozen=True, slots=True)
class GetAllWhitelistedAccounts(ContractMessage):
    """Answer: `WhitelistedAccounts`."""

    NAME: ClassVar = "get_all_whitelisted_accounts"


@dataclass(frozen=True, slots=True)
class GetDeposit(ContractMessage):
    """Answer: `DepositAnswer`."""

    NAME: ClassVar = "get_deposit"
    deposit_id: int = member(U32)


@dataclass(frozen=True, slots=True)
class GetLatestDeposit(ContractMessage):
    """Answer: `LatestDeposit`, null in practice: the contract looks at the next free id."""

    NAME: ClassVar = "get_latest_deposit"


@dataclass(frozen=True, slots=True)
class GetDepositsPaged(ContractMessage):
    """Answer: `DepositsPage`; by id, ``start_after`` exclusive."""

    NAME: ClassVar = "get_deposits_paged"
    limit: int | None = member(optional(U32), default=None)
    start_after: int | None = member(optional(U32), default=None)


@dataclass(frozen=True, slots=True)
class GetDepositsStatistics(ContractMessage):
    """Answer: `DepositsStatistics`."""

    NAME: ClassVar = "get_deposits_statistics"


@dataclass(frozen=True, slots=True)
class GetBlacklistedAccount(ContractMessage):
    """Answer: `BlacklistedAccount`, always null."""

    NAME: ClassVar = "get_blacklisted_account"
    public_key: str = member(TEXT)


@dataclass(frozen=True, slots=True)
class GetBlacklistPaged(ContractMessage):
    """Answer: an empty page."""

    NAME: ClassVar = "get_blacklist_paged"
    limit: int | None = member(optional(U32), default=None)
    start_after: str | None = member(optional(TEXT), default=None)


@dataclass(frozen=True, slots=True)
class GetMultisigThreshold(ContractMessage):
    """Of the multisig contract; answer: `AbsolutePercentage`."""

    NAME: ClassVar = "threshold"


def _by_name(*kinds: type[ContractMessage]) -> Mapping[str, type[ContractMessage]]:
    return {kind.NAME: kind for kind in kinds}


ECASH_EXECUTES: Final = _by_name(
    DepositTicketBookFunds,
    RequestRedemption,
    RedeemTickets,
    UpdateAdmin,
    UpdateDefaultDepositValue,
    SetReducedDepositPrice,
    RemoveReducedDepositPrice,
    ProposeToBlacklist,
    AddToBlacklist,
)
ECASH_QUERIES: Final = _by_name(
    GetDefaultDepositAmount,
    GetRequiredDepositAmount,
    GetReducedDepositAmount,
    GetAllWhitelistedAccounts,
    GetDeposit,
    GetLatestDeposit,
    GetDepositsPaged,
    GetDepositsStatistics,
    GetBlacklistedAccount,
    GetBlacklistPaged,
)
MULTISIG_QUERIES: Final = _by_name(GetMultisigThreshold)


def parse_ecash_execute(text: bytes | str) -> ContractMessage:
    """One of `ECASH_EXECUTES`. Raises `MalformedChainData`."""
    return parse_message(text, ECASH_EXECUTES)


def parse_ecash_query(text: bytes | str) -> ContractMessage:
    """One of `ECASH_QUERIES`. Raises `MalformedChainData`."""
    return parse_message(text, ECASH_QUERIES)


# --- answers ----------------------------------------------------------------------------------------------------


def coin_to_json(coin: Coin | None) -> bytes:
    """The answer to the price queries."""
    return dump_json(None if coin is None else write_coin(coin))


def coin_from_json(text: bytes | str) -> Coin:
    """The inverse, null refused. Raises `MalformedChainData`."""
    coin: Coin = COIN.read(load_json(text))
    return coin


def optional_coin_from_json(text: bytes | str) -> Coin | None:
    """The inverse, with None for null. Raises `MalformedChainData`."""
    coin: Coin | None = optional(COIN).read(load_json(text))
    return coin


@dataclass(frozen=True, slots=True)
class DepositData(JsonRecord):
    """What the contract keeps of a deposit."""

    bs58_encoded_ed25519_pubkey: str = member(TEXT)

    @classmethod
    def for_key(cls, public_key: bytes) -> DepositData:
        """Of an Ed25519 public key of 32 bytes."""
        return cls(b58encode(public_key))

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the key. Raises `MalformedChainData`."""
        try:
            key = b58decode(self.bs58_encoded_ed25519_pubkey)
        except MalformedText:
            key = b""
        if len(key) != IDENTITY_KEY_BYTES:
            raise MalformedChainData("bs58_encoded_ed25519_pubkey", "base58 of 32 bytes")
        return key


@dataclass(frozen=True, slots=True)
class NumberedDeposit(JsonRecord):
    """A deposit with its id."""

    id: int = member(U32)
    deposit: DepositData = member(nested(DepositData))


@dataclass(frozen=True, slots=True)
class DepositAnswer(JsonRecord):
    """``deposit`` is None for an id that does not exist."""

    id: int = member(U32)
    deposit: DepositData | None = member(optional(nested(DepositData)))


@dataclass(frozen=True, slots=True)
class LatestDeposit(JsonRecord):
    """See `GetLatestDeposit`."""

    deposit: NumberedDeposit | None = member(optional(nested(NumberedDeposit)))


@dataclass(frozen=True, slots=True)
class DepositsPage(JsonRecord):
    """``start_next_after`` is the last id of the page, None on an empty one."""

    deposits: tuple[NumberedDeposit, ...] = member(listed(nested(NumberedDeposit)))
    start_next_after: int | None = member(optional(U32), default=None)


@dataclass(frozen=True, slots=True)
class WhitelistedAccount(JsonRecord):
    """An account with a price of its own."""

    address: str = member(TEXT)
    deposit: Coin = member(COIN)


@dataclass(frozen=True, slots=True)
class WhitelistedAccounts(JsonRecord):
    """All of them."""

    whitelisted_accounts: tuple[WhitelistedAccount, ...] = member(listed(nested(WhitelistedAccount)))


@dataclass(frozen=True, slots=True)
class BlacklistedAccount(JsonRecord):
    """Always null: the contract has no blacklist."""

    account: Any = member(optional(TEXT))


@dataclass(frozen=True, slots=True)
class DepositsStatistics(JsonRecord):
    """Counters of the contract."""

    total_deposits_made: int = member(U32)
    total_deposited: Coin = member(COIN)
    total_deposits_made_with_default_price: int = member(U32)
    total_deposited_with_default_price: Coin = member(COIN)
    total_deposits_made_with_custom_price: int = member(U32)
    total_deposited_with_custom_price: Coin = member(COIN)
    deposits_made_with_custom_price: Mapping[str, int] = member(mapped(U32))
    deposited_with_custom_price: Mapping[str, Coin] = member(mapped(COIN))


@dataclass(frozen=True, slots=True)
class AbsolutePercentageBody(JsonRecord):
    """A decimal fraction as text, and the weight it is a fraction of."""

    percentage: str = member(TEXT)
    total_weight: int = member(U64)


@dataclass(frozen=True, slots=True)
class AbsolutePercentage(JsonRecord):
    """The only kind of multisig threshold that gateways accept."""

    absolute_percentage: AbsolutePercentageBody = member(nested(AbsolutePercentageBody))
