"""The contract that takes deposits for ticketbooks (docs/protocol/08 §4.1, §5).

Prices: a default one, and a reduced one for single accounts. A deposit is a number, counted from 0, and 32 bytes of
key; nothing says later whether a book was issued for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nym_credentials.addresses import check_address
from nym_credentials.errors import AddressInvalid
from nym_credentials.money import Coin
from nym_localnet.chain.contract import (
    Call,
    Event,
    Execution,
    Invocation,
    Json,
    QueryContext,
    answer_query,
    page,
)
from nym_localnet.chain.errors import ContractError
from nym_localnet.chain.voting_contracts import Multisig
from zknym import MalformedData, b58decode, b58encode

KEY_BYTES: Final = 32
DEPOSIT_ID_BYTES: Final = 4
BOOK_TICKETS: Final = 50
"""the least amount of a price: one base unit per ticket"""
DEPOSITS_PAGE: Final = (50, 100)
"""default and most"""
MESSAGE_TYPE: Final = "nym_ecash_contract::contract::sv::ContractExecMsg"
QUERY_TYPE: Final = "nym_ecash_contract::contract::sv::ContractQueryMsg"
DEPOSITED: Final = "deposited-funds"

INVALID_DEPOSIT: Final = "Invalid deposit"
MALFORMED_IDENTITY: Final = "the provided ed25519 identity was malformed"
MALFORMED_COMMITMENT: Final = "the provided tickets redemption commitment is malformed"
UNAUTHORIZED: Final = "Unauthorized"
NOT_ADMIN: Final = "Caller is not admin"
NO_BLACKLIST: Final = "the account blacklisting hasn't been fully implemented yet"


@dataclass(slots=True)
class _State:
    admin: str
    price: Coin
    reduced: dict[str, Coin] = field(default_factory=dict)
    deposits: tuple[bytes, ...] = ()
    total: int = 0
    at_default: tuple[int, int] = (0, 0)
    """number of deposits at the default price, and what they paid"""
    at_reduced: dict[str, tuple[int, int]] = field(default_factory=dict)
    redeemed_tickets: int = 0


class EcashContract:
    """Deposits and prices."""

    def __init__(self, address: str, *, admin: str, price: Coin, prefix: str, multisig: Multisig) -> None:
        self.address = address
        self._prefix = prefix
        self._multisig = multisig
        self._state = _State(admin, price)

    # What the test network's owner may do and look at without a transaction

    @property
    def price(self) -> Coin:
        """The default price of a deposit."""
        return self._state.price

    @price.setter
    def price(self, price: Coin) -> None:
        self._state.price = price

    def set_reduced_price(self, address: str, price: Coin | None) -> None:
        """A price of its own for one account; None takes it away."""
        reduced = dict(self._state.reduced)
        reduced.pop(address, None)
        if price is not None:
            reduced[address] = price
        self._state.reduced = reduced

    @property
    def deposits(self) -> int:
        """How many deposits were made."""
        return len(self._state.deposits)

    @property
    def deposited(self) -> int:
        """What all deposits paid, in base units."""
        return self._state.total

    def deposit_key(self, deposit_id: int) -> bytes | None:
        """The key of a deposit; None for an unknown one."""
        deposits = self._state.deposits
        return deposits[deposit_id] if 0 <= deposit_id < len(deposits) else None

    def put_deposit(self, deposit_id: int, key: bytes) -> None:
        """Let a deposit exist that nobody paid for; ids before it are filled with zeros."""
        filled = list(self._state.deposits)
        filled += [bytes(KEY_BYTES)] * (deposit_id + 1 - len(filled))
        filled[deposit_id] = key
        self._state.deposits = tuple(filled)

    # Messages

    def execute(self, call: Call) -> Execution:
        """See `Contract`."""
        asked = Invocation.of(call.message)
        handlers = {
            "deposit_ticket_book_funds": self._deposit,
            "request_redemption": self._request_redemption,
            "redeem_tickets": self._redeem_tickets,
            "update_admin": self._update_admin,
            "update_default_deposit_value": self._update_price,
            "set_reduced_deposit_price": self._set_reduced,
            "remove_reduced_deposit_price": self._remove_reduced,
            "propose_to_blacklist": self._blacklist,
            "add_to_blacklist": self._blacklist,
        }
        handler = handlers.get(asked.name) if asked else None
        if asked is None or handler is None:
            raise ContractError(f"Error parsing into type {MESSAGE_TYPE}: unknown variant")
        try:
            return handler(call, asked.arguments)
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(f"Error parsing into type {MESSAGE_TYPE}: {type(error).__name__}") from error

    def _deposit(self, call: Call, arguments: Mapping[str, Json]) -> Execution:
        state = self._state
        identity = arguments["identity_key"]
        if not isinstance(identity, str):
            raise TypeError("identity_key")
        if len(call.funds) != 1 or call.funds[0].denom != state.price.denom or not call.funds[0].amount:
            raise ContractError(INVALID_DEPOSIT)
        paid, reduced = call.funds[0], state.reduced.get(call.sender)
        if paid != state.price and paid != reduced:
            required = reduced or state.price
            raise ContractError(f"received wrong amount for deposit. got: {paid}. required: {required}")
        key = _identity(identity)
        if paid == state.price:
            state.at_default = (state.at_default[0] + 1, state.at_default[1] + paid.amount)
        else:
            count, amount = state.at_reduced.get(call.sender, (0, 0))
            state.at_reduced = {**state.at_reduced, call.sender: (count + 1, amount + paid.amount)}
        deposit_id = len(state.deposits)
        state.deposits = (*state.deposits, key)
        state.total += paid.amount
        event = Event(DEPOSITED, (("deposit-id", str(deposit_id)),))
        return Execution(deposit_id.to_bytes(DEPOSIT_ID_BYTES, "big"), (event,))

    def _request_redemption(self, call: Call, arguments: Mapping[str, Json]) -> Execution:
        commitment, tickets = arguments["commitment_bs58"], int(arguments["number_of_tickets"])
        try:
            digest = b58decode(commitment)
        except MalformedData:
            digest = b""
        if len(digest) != KEY_BYTES:
            raise ContractError(MALFORMED_COMMITMENT)
        proposal_id = self._multisig.propose_redemption(self.address, commitment, tickets, call.sender)
        event = Event("", (("action", "propose"), ("proposal_id", str(proposal_id)), ("status", "Open")))
        return Execution(proposal_id.to_bytes(8, "big"), (event,))

    def _redeem_tickets(self, call: Call, arguments: Mapping[str, Json]) -> Execution:
        number = int(arguments["n"])
        if call.sender != self._multisig.address:
            raise ContractError(NOT_ADMIN)
        self._state.redeemed_tickets += number
        return Execution(events=(Event("ticket_redemption", (("moved_to_holding_account", "false"),)),))

    def _update_admin(self, call: Call, arguments: Mapping[str, Json]) -> Execution:
        self._assert_admin(call)
        self._state.admin = self._checked_address(arguments["admin"])
        return Execution()

    def _update_price(self, call: Call, arguments: Mapping[str, Json]) -> Execution:
        self._assert_admin(call)
        price = _coin(arguments["new_deposit"])
        _assert_covers_book(price)
        self._state.price = price
        return Execution(events=(Event("", (("updated_deposit", str(price)),)),))

    def _set_reduced(self, call: Call, arguments: Mapping[str, Json]) -> Execution:
        self._assert_admin(call)
        address, price = self._checked_address(arguments["address"]), _coin(arguments["deposit"])
        default = self._state.price
        if price.denom != default.denom:
            raise ContractError(
                "reduced deposit must use the same denom as the default deposit "
                f"(expected '{default.denom}', got '{price.denom}')"
            )
        if price.amount >= default.amount:
            raise ContractError(
                f"reduced deposit amount ({price.amount}) must be strictly less than the default "
                f"({default.amount})"
            )
        _assert_covers_book(price)
        self.set_reduced_price(address, price)
        action = ("action", "set_reduced_deposit_price")
        return Execution(events=(Event("", (action, ("address", address), ("deposit", str(price)))),))

    def _remove_reduced(self, call: Call, arguments: Mapping[str, Json]) -> Execution:
        self._assert_admin(call)
        address = self._checked_address(arguments["address"])
        if address not in self._state.reduced:
            raise ContractError(f"address '{address}' does not have a custom reduced deposit price set")
        self.set_reduced_price(address, None)
        return Execution(
            events=(Event("", (("action", "remove_reduced_deposit_price"), ("address", address))),)
        )

    def _blacklist(self, call: Call, arguments: Mapping[str, Json]) -> Execution:
        raise ContractError(NO_BLACKLIST)

    def _assert_admin(self, call: Call) -> None:
        if call.sender != self._state.admin:
            raise ContractError(NOT_ADMIN)

    def _checked_address(self, address: Json) -> str:
        try:
            check_address(address, self._prefix)
        except AddressInvalid as error:
            raise ContractError(f"Generic error: Error decoding bech32: {error.happened}") from error
        return str(address)

    # Queries

    def query(self, query: Mapping[str, Json], context: QueryContext) -> Json:
        """See `Contract`."""
        state = self._state
        handlers = {
            "get_blacklist_paged": lambda arguments: {
                "accounts": [],
                "per_page": min(arguments.get("limit") or 50, 75),
                "start_next_after": None,
            },
            "get_blacklisted_account": lambda arguments: {"account": None},
            "get_default_deposit_amount": lambda arguments: coin_json(state.price),
            "get_required_deposit_amount": lambda arguments: coin_json(state.price),
            "get_reduced_deposit_amount": lambda arguments: self._reduced_of(arguments["address"]),
            "get_all_whitelisted_accounts": lambda arguments: {
                "whitelisted_accounts": [
                    {"address": address, "deposit": coin_json(price)}
                    for address, price in sorted(state.reduced.items())
                ]
            },
            "get_deposit": lambda arguments: self._one_deposit(int(arguments["deposit_id"])),
            # The real contract looks up the next free id, finds nothing and says so.
            "get_latest_deposit": lambda arguments: {"deposit": None},
            "get_deposits_paged": self._deposits_page,
            "get_deposits_statistics": lambda arguments: self._statistics(),
        }
        return answer_query(QUERY_TYPE, handlers, query)

    def _reduced_of(self, address: Json) -> Json:
        price = self._state.reduced.get(address)
        return None if price is None else coin_json(price)

    def _one_deposit(self, deposit_id: int) -> Json:
        key = self.deposit_key(deposit_id)
        return {"id": deposit_id, "deposit": None if key is None else _deposit_json(key)}

    def _deposits_page(self, arguments: Mapping[str, Json]) -> Json:
        items = [
            {"id": number, "deposit": _deposit_json(key)} for number, key in enumerate(self._state.deposits)
        ]
        found, after = page(
            items,
            lambda item: item["id"],
            arguments.get("start_after"),
            arguments.get("limit"),
            *DEPOSITS_PAGE,
        )
        return {"deposits": found, "start_next_after": after}

    def _statistics(self) -> Json:
        state = self._state
        denom = state.price.denom
        reduced = sorted(state.at_reduced.items())
        return {
            "total_deposits_made": len(state.deposits),
            "total_deposited": coin_json(Coin(denom, state.total)),
            "total_deposits_made_with_default_price": state.at_default[0],
            "total_deposited_with_default_price": coin_json(Coin(denom, state.at_default[1])),
            "total_deposits_made_with_custom_price": sum(count for _, (count, _) in reduced),
            "total_deposited_with_custom_price": coin_json(
                Coin(denom, sum(paid for _, (_, paid) in reduced))
            ),
            "deposits_made_with_custom_price": {address: count for address, (count, _) in reduced},
            "deposited_with_custom_price": {
                address: coin_json(Coin(denom, paid)) for address, (_, paid) in reduced
            },
        }

    # State

    def snapshot(self) -> Any:
        """See `Contract`. Every value in the state is immutable or replaced when it changes."""
        return replace(self._state)

    def restore(self, snapshot: Any) -> None:
        """See `Contract`."""
        self._state = replace(snapshot)

    def to_json(self) -> dict[str, Json]:
        """See `Contract`."""
        state = self._state
        return {
            "admin": state.admin,
            "price": str(state.price),
            "reduced": {address: str(price) for address, price in state.reduced.items()},
            "deposits": [key.hex() for key in state.deposits],
            "total": state.total,
            "at_default": list(state.at_default),
            "at_reduced": {address: list(counts) for address, counts in state.at_reduced.items()},
            "redeemed_tickets": state.redeemed_tickets,
        }

    def load_json(self, value: dict[str, Json]) -> None:
        """See `Contract`."""
        self._state = _State(
            admin=value["admin"],
            price=Coin.parse(value["price"]),
            reduced={address: Coin.parse(price) for address, price in value["reduced"].items()},
            deposits=tuple(bytes.fromhex(key) for key in value["deposits"]),
            total=value["total"],
            at_default=(value["at_default"][0], value["at_default"][1]),
            at_reduced={address: (count, paid) for address, (count, paid) in value["at_reduced"].items()},
            redeemed_tickets=value["redeemed_tickets"],
        )


def coin_json(coin: Coin) -> Json:
    """An amount as contracts write it: the number is a text."""
    return {"denom": coin.denom, "amount": str(coin.amount)}


def _coin(value: Json) -> Coin:
    return Coin(str(value["denom"]), int(value["amount"]))


def _deposit_json(key: bytes) -> Json:
    return {"bs58_encoded_ed25519_pubkey": b58encode(key)}


def _identity(text: str) -> bytes:
    """The real contract decodes into a buffer of 32 bytes: what is longer is an error, what is shorter is padded."""
    try:
        key = b58decode(text)
    except MalformedData as error:
        raise ContractError(MALFORMED_IDENTITY) from error
    if len(key) > KEY_BYTES:
        raise ContractError(MALFORMED_IDENTITY)
    return key.ljust(KEY_BYTES, b"\0")


def _assert_covers_book(price: Coin) -> None:
    if price.amount < BOOK_TICKETS:
        raise ContractError(
            f"deposit amount ({price.amount}) must be at least the ticket book size ({BOOK_TICKETS})"
        )
