"""What is remembered of a purchase: everything that would be lost money if it were forgotten (docs/protocol/08 §7).

A `Purchase` is immutable: each step returns the next one, which the caller stores before it acts on it. The stored
form is JSON with a revision. It holds secrets in clear; the store seals it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nym_credentials.chain.records import SignedDeposit
from nym_credentials.errors import PurchaseUnreadable
from nym_credentials.money import Coin
from nym_credentials.purchase.states import PurchaseEvent, PurchaseState, next_state
from zknym import (
    BlindedSignature,
    EcashError,
    PendingTicketBook,
    RequestInfo,
    SignRequest,
    TicketType,
    UserSecretKey,
    WithdrawalRequest,
    default_expiration,
    is_expired,
)

REVISION: Final = 1
"""Of the stored form."""

_SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SignedPayment:
    """A transaction that pays for one deposit. Its bytes may be sent any number of times."""

    tx_bytes: bytes = field(repr=False)
    tx_hash: str
    """Upper-case hex: by it the chain is asked what became of the transaction."""
    account_number: int
    sequence: int
    """Of the account. Once the account's is higher, this transaction is included or never will be."""
    gas_limit: int
    fee: int
    """In base units of `Purchase.denom`, the network's only coin for both."""
    chain_id: str

    @classmethod
    def of(cls, signed: SignedDeposit) -> SignedPayment:
        """As it is stored."""
        return cls(
            signed.tx_bytes,
            signed.tx_hash,
            signed.account_number,
            signed.sequence,
            signed.gas_limit,
            signed.fee.amount,
            signed.chain_id,
        )


@dataclass(frozen=True, slots=True)
class Deposit:
    """A deposit as the chain has it."""

    deposit_id: int
    height: int


@dataclass(frozen=True, slots=True)
class Issuance:
    """The one withdrawal request of a deposit, with what is needed to understand the answers to it."""

    epoch_id: int
    """The key epoch of the signers when the request was made."""
    expiration: date
    request: WithdrawalRequest
    info: RequestInfo = field(repr=False)

    def worthless(self, today: date) -> bool:
        """Whether a book made from this request could not be spent any more."""
        return is_expired(self.expiration, today)


@dataclass(frozen=True, slots=True)
class SignerShare:
    """A signer's answer that verified under the signer's key of that epoch."""

    epoch_id: int
    node_index: int
    blinded: BlindedSignature = field(repr=False)


@dataclass(frozen=True, slots=True)
class Purchase:
    """One ticketbook on its way from money to tickets."""

    id: UUID
    ticket_type: TicketType
    network: str
    contract: str
    """Address of the ecash contract that the deposit goes to."""
    account: str
    """Address that pays."""
    price: int
    """Of the deposit, in base units of `denom`."""
    denom: str
    created_unix: int
    identity_seed: bytes = field(repr=False)
    """Ed25519 seed of the deposit, 32 bytes: whoever has it can turn the deposit into a book."""
    user: UserSecretKey = field(repr=False)
    """Behind this book only, so that signers cannot link books with one another."""
    state: PurchaseState = PurchaseState.PLANNED
    version: int = 0
    """Of the stored record: raised by the store at every save."""
    payment: SignedPayment | None = None
    sends: int = 0
    """How often sending was begun."""
    deposit: Deposit | None = None
    issuance: Issuance | None = None
    shares: tuple[SignerShare, ...] = ()
    problem: str = ""
    """Why it failed, or does not go on at the moment; for people to read, without secrets."""

    @property
    def identity_key(self) -> bytes:
        """The Ed25519 public key that the deposit names: 32 bytes."""
        return Ed25519PrivateKey.from_private_bytes(self.identity_seed).public_key().public_bytes_raw()

    @property
    def cost(self) -> Coin:
        """The price of the deposit."""
        return Coin(self.denom, self.price)

    def signed_deposit(self) -> SignedDeposit:
        """The transaction as a payment source takes it. Raises `ValueError` before SIGNED."""
        payment = self.payment
        if payment is None:
            raise ValueError(f"a purchase that is {self.state} has no transaction")
        return SignedDeposit(
            tx_bytes=payment.tx_bytes,
            tx_hash=payment.tx_hash,
            chain_id=payment.chain_id,
            account_number=payment.account_number,
            sequence=payment.sequence,
            gas_limit=payment.gas_limit,
            fee=Coin(self.denom, payment.fee),
        )

    def signed(self, payment: SignedPayment) -> Purchase:
        """With its transaction."""
        return self._after(PurchaseEvent.SIGN, payment=payment)

    def sending(self) -> Purchase:
        """About to be sent (again)."""
        return self._after(PurchaseEvent.SEND, sends=self.sends + 1)

    def deposited(self, deposit: Deposit) -> Purchase:
        """Paid."""
        return self._after(PurchaseEvent.INCLUDE, deposit=deposit)

    def rejected(self, why: str) -> Purchase:
        """Refused by the chain: nothing was deposited."""
        return self._after(PurchaseEvent.REJECT, problem=why)

    def given_up(self, why: str) -> Purchase:
        """Dropped before anything was sent."""
        return self._after(PurchaseEvent.GIVE_UP, problem=why)

    def noted(self, why: str) -> Purchase:
        """Unchanged but for the reason why it does not go on."""
        return self._after(PurchaseEvent.NOTE, problem=why)

    def requesting(self, issuance: Issuance) -> Purchase:
        """With its withdrawal request. One before it, and the answers to it, are forgotten."""
        return self._after(PurchaseEvent.REQUEST, issuance=issuance, shares=())

    def answered(self, share: SignerShare) -> Purchase:
        """With one more share; a second one of the same signer and epoch replaces the first."""
        others = tuple(
            known
            for known in self.shares
            if (known.epoch_id, known.node_index) != (share.epoch_id, share.node_index)
        )
        return self._after(PurchaseEvent.ANSWER, shares=(*others, share))

    def issued(self) -> Purchase:
        """Done."""
        return self._after(PurchaseEvent.ISSUE)

    def _after(self, event: PurchaseEvent, **changes: Any) -> Purchase:
        return replace(self, **{"problem": "", **changes}, state=next_state(self.state, event))

    def expiration(self, today: date) -> date:
        """The last day of the book: that of its request, else of one that were made `today` (UTC)."""
        return self.issuance.expiration if self.issuance is not None else default_expiration(today)

    def sign_request(self) -> SignRequest:
        """What every signer is sent, the same bytes at every attempt. Raises `ValueError` before REQUESTING."""
        if self.deposit is None or self.issuance is None:
            raise ValueError(f"a purchase that is {self.state} has nothing to ask signers for")
        pending = PendingTicketBook(
            self.deposit.deposit_id,
            self.identity_seed,
            self.user,
            self.ticket_type,
            self.issuance.expiration,
        )
        return pending.sign(self.issuance.request)

    def to_bytes(self) -> bytes:
        """The stored form, with all secrets. `version` is not part of it: the store counts."""
        return json.dumps(_to_json(self), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, version: int) -> Purchase:
        """The inverse of `to_bytes`. Raises `PurchaseUnreadable`; the message repeats nothing of the data."""
        try:
            value = json.loads(data)
            if value["revision"] != REVISION:
                raise PurchaseUnreadable(
                    f"A stored purchase has revision {int(value['revision'])}, and this program reads {REVISION}.",
                    "Update this program; the purchase may be paid.",
                )
            return _from_json(value, version)
        except PurchaseUnreadable:
            raise
        except (EcashError, ValueError, KeyError, TypeError, AttributeError) as error:
            # Neither chained nor quoted: a decoder's message could repeat a secret.
            raise PurchaseUnreadable(
                f"A stored purchase is damaged ({type(error).__name__}).", "Keep it: it may be paid."
            ) from None


def _to_json(purchase: Purchase) -> dict[str, Any]:
    payment, deposit, issuance = purchase.payment, purchase.deposit, purchase.issuance
    return {
        "revision": REVISION,
        "id": str(purchase.id),
        "state": purchase.state.value,
        "ticket_type": purchase.ticket_type.label,
        "network": purchase.network,
        "contract": purchase.contract,
        "account": purchase.account,
        "price": purchase.price,
        "denom": purchase.denom,
        "created_unix": purchase.created_unix,
        "identity_seed": purchase.identity_seed.hex(),
        "user": purchase.user.encode().hex(),
        "payment": payment
        and {
            "tx_bytes": payment.tx_bytes.hex(),
            "tx_hash": payment.tx_hash,
            "account_number": payment.account_number,
            "sequence": payment.sequence,
            "gas_limit": payment.gas_limit,
            "fee": payment.fee,
            "chain_id": payment.chain_id,
        },
        "sends": purchase.sends,
        "deposit": deposit and {"deposit_id": deposit.deposit_id, "height": deposit.height},
        "issuance": issuance
        and {
            "epoch_id": issuance.epoch_id,
            "expiration": issuance.expiration.isoformat(),
            "request": issuance.request.encode().hex(),
            "info": issuance.info.encode().hex(),
        },
        "shares": [
            {
                "epoch_id": share.epoch_id,
                "node_index": share.node_index,
                "blinded": share.blinded.encode().hex(),
            }
            for share in purchase.shares
        ],
        "problem": purchase.problem,
    }


def _from_json(value: dict[str, Any], version: int) -> Purchase:
    seed = bytes.fromhex(value["identity_seed"])
    if len(seed) != _SEED_BYTES:
        raise ValueError
    return Purchase(
        id=UUID(value["id"]),
        ticket_type=TicketType.from_label(value["ticket_type"]),
        network=_text(value["network"]),
        contract=_text(value["contract"]),
        account=_text(value["account"]),
        price=_integer(value["price"]),
        denom=_text(value["denom"]),
        created_unix=_integer(value["created_unix"]),
        identity_seed=seed,
        user=UserSecretKey.decode(bytes.fromhex(value["user"])),
        state=PurchaseState(value["state"]),
        version=version,
        payment=_optional(value["payment"], _payment),
        sends=_integer(value["sends"]),
        deposit=_optional(value["deposit"], _deposit),
        issuance=_optional(value["issuance"], _issuance),
        shares=tuple(_share(item) for item in value["shares"]),
        problem=_text(value["problem"]),
    )


def _payment(value: dict[str, Any]) -> SignedPayment:
    return SignedPayment(
        tx_bytes=bytes.fromhex(value["tx_bytes"]),
        tx_hash=_text(value["tx_hash"]),
        account_number=_integer(value["account_number"]),
        sequence=_integer(value["sequence"]),
        gas_limit=_integer(value["gas_limit"]),
        fee=_integer(value["fee"]),
        chain_id=_text(value["chain_id"]),
    )


def _deposit(value: dict[str, Any]) -> Deposit:
    return Deposit(_integer(value["deposit_id"]), _integer(value["height"]))


def _issuance(value: dict[str, Any]) -> Issuance:
    return Issuance(
        _integer(value["epoch_id"]),
        date.fromisoformat(value["expiration"]),
        WithdrawalRequest.decode(bytes.fromhex(value["request"])),
        RequestInfo.decode(bytes.fromhex(value["info"])),
    )


def _share(value: dict[str, Any]) -> SignerShare:
    blinded = BlindedSignature.decode(bytes.fromhex(value["blinded"]))
    return SignerShare(_integer(value["epoch_id"]), _integer(value["node_index"]), blinded)


def _optional(value: Any, read: Callable[[dict[str, Any]], Any]) -> Any:
    return None if value is None else read(value)


def _integer(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
