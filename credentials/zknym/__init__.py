"""Offline compact e-cash of Nym: ticketbooks that signers issue blindly and gateways take one ticket at a time.

Signers hold shares of a key; a threshold of them issues a book of 50 tickets without learning what is in it. Each
ticket pays once, to anybody who knows the public key of the epoch. Payments cannot be linked to each other or to
the book, but whoever spends a ticket twice reveals the own public key. The whole way in 30 lines: README.md.

From the bottom up: ``curve``, ``hashing`` and ``bincode``; keys of signers and users (``signer_keys``,
``threshold``, ``user_keys``); a withdrawal (``withdrawal`` → ``issuance`` → ``wallet``); the public signatures that
every spender needs (``coin_signatures``, ``date_signatures``); spending, verification and ``identify``; and the
forms in which all of it is stored and sent (``ticketbook``, ``epoch_data``, ``importable``, ``credential``,
``sign_request``, ``merkle``). Layouts and algorithms: docs/protocol/07. Errors: ``zknym.errors``.

Nothing here does input or output or reads a clock. Randomness comes from the operating system; ``draw`` exists for
tests. Calls take milliseconds to tens of them: run them in a thread when an event loop must not wait.
"""

from zknym.base58 import Base58Text, b58decode, b58encode
from zknym.coin_signatures import (
    CoinIndexSignature,
    aggregate_coin_indices,
    sign_coin_indices,
    verify_coin_indices,
)
from zknym.constants import PAY_INFO_BYTES, PAY_INFO_TOLERANCE_SECONDS, TICKETS_PER_BOOK, VALIDITY_DAYS
from zknym.credential import SpendingCredential
from zknym.date_signatures import (
    ExpirationDateSignature,
    aggregate_expiration_date,
    sign_expiration_date,
    verify_expiration_date,
)
from zknym.dates import EncodedDate, decode_date, default_expiration, encode_date, is_expired, spend_dates
from zknym.epoch_data import CoinSignatureSet, DateSignatureSet, EpochKey
from zknym.errors import (
    AggregationDuplicateIndices,
    AggregationEmptySet,
    AggregationSizeMismatch,
    AggregationVerification,
    CoinIndicesSignatureVerification,
    DepositSignatureInvalid,
    EcashError,
    ExpirationDateSignatureValidity,
    ExpirationDateSignatureVerification,
    Fault,
    IdentityCommitmentHash,
    IdentitySignature,
    InsufficientNumberOfExpirationSignatures,
    InsufficientNumberOfIndexSignatures,
    InvalidArgument,
    IssuanceError,
    IssuanceVerification,
    KeygenParameters,
    KeyTooShort,
    MalformedBincode,
    MalformedData,
    MalformedJson,
    MalformedPoint,
    MalformedScalar,
    MalformedText,
    MerkleProofInvalid,
    MultipleTickets,
    PayInfoRejected,
    PaymentRejected,
    SignatureSetInvalid,
    SpendDateNotToday,
    SpendDateTooEarly,
    SpendDateTooLate,
    SpendDuplicateSerialNumber,
    SpendError,
    SpendExceedsAllowance,
    SpendSignaturesValidity,
    SpendSignaturesVerification,
    SpendZkProofVerification,
    UnknownRevision,
    UnknownTicketType,
    UnluckiestDraw,
    VerificationKeyTooShort,
    WithdrawalRequestVerification,
    WrongLength,
)
from zknym.identify import DoubleSpender, Identification, NotADuplicate, SamePayment, identify
from zknym.importable import ImportableTicketBook
from zknym.issuance import blind_sign, verify_blinded_signature
from zknym.merkle import IssuedRecord, MerkleProof, merkle_root, prove_inclusion
from zknym.pay_info import PayInfo
from zknym.payment import Payment, SpendProof
from zknym.sign_request import SignRequest, request_plaintext
from zknym.signatures import BlindedSignature, Signature
from zknym.signer_keys import SignerSecretKey, VerificationKey
from zknym.spending import spend, spend_from_wallet
from zknym.threshold import SignerKeys, aggregate_verification_keys, generate_signers, lagrange_at_origin
from zknym.ticket_types import TicketType
from zknym.ticketbook import PendingTicketBook, TicketBook
from zknym.user_keys import UserPublicKey, UserSecretKey
from zknym.verification import ReceivedPayment, check_single_ticket, verify_payment, verify_payments
from zknym.versioned import Versioned
from zknym.wallet import PartialWallet, Wallet, WalletSignatures, aggregate_wallet, unblind, verify_wallet
from zknym.withdrawal import RequestInfo, WithdrawalProof, WithdrawalRequest, request_withdrawal

__all__ = [
    "PAY_INFO_BYTES",
    "PAY_INFO_TOLERANCE_SECONDS",
    "TICKETS_PER_BOOK",
    "VALIDITY_DAYS",
    "AggregationDuplicateIndices",
    "AggregationEmptySet",
    "AggregationSizeMismatch",
    "AggregationVerification",
    "Base58Text",
    "BlindedSignature",
    "CoinIndexSignature",
    "CoinIndicesSignatureVerification",
    "CoinSignatureSet",
    "DateSignatureSet",
    "DepositSignatureInvalid",
    "DoubleSpender",
    "EcashError",
    "EncodedDate",
    "EpochKey",
    "ExpirationDateSignature",
    "ExpirationDateSignatureValidity",
    "ExpirationDateSignatureVerification",
    "Fault",
    "Identification",
    "IdentityCommitmentHash",
    "IdentitySignature",
    "ImportableTicketBook",
    "InsufficientNumberOfExpirationSignatures",
    "InsufficientNumberOfIndexSignatures",
    "InvalidArgument",
    "IssuanceError",
    "IssuanceVerification",
    "IssuedRecord",
    "KeyTooShort",
    "KeygenParameters",
    "MalformedBincode",
    "MalformedData",
    "MalformedJson",
    "MalformedPoint",
    "MalformedScalar",
    "MalformedText",
    "MerkleProof",
    "MerkleProofInvalid",
    "MultipleTickets",
    "NotADuplicate",
    "PartialWallet",
    "PayInfo",
    "PayInfoRejected",
    "Payment",
    "PaymentRejected",
    "PendingTicketBook",
    "ReceivedPayment",
    "RequestInfo",
    "SamePayment",
    "SignRequest",
    "Signature",
    "SignatureSetInvalid",
    "SignerKeys",
    "SignerSecretKey",
    "SpendDateNotToday",
    "SpendDateTooEarly",
    "SpendDateTooLate",
    "SpendDuplicateSerialNumber",
    "SpendError",
    "SpendExceedsAllowance",
    "SpendProof",
    "SpendSignaturesValidity",
    "SpendSignaturesVerification",
    "SpendZkProofVerification",
    "SpendingCredential",
    "TicketBook",
    "TicketType",
    "UnknownRevision",
    "UnknownTicketType",
    "UnluckiestDraw",
    "UserPublicKey",
    "UserSecretKey",
    "VerificationKey",
    "VerificationKeyTooShort",
    "Versioned",
    "Wallet",
    "WalletSignatures",
    "WithdrawalProof",
    "WithdrawalRequest",
    "WithdrawalRequestVerification",
    "WrongLength",
    "aggregate_coin_indices",
    "aggregate_expiration_date",
    "aggregate_verification_keys",
    "aggregate_wallet",
    "b58decode",
    "b58encode",
    "blind_sign",
    "check_single_ticket",
    "decode_date",
    "default_expiration",
    "encode_date",
    "generate_signers",
    "identify",
    "is_expired",
    "lagrange_at_origin",
    "merkle_root",
    "prove_inclusion",
    "request_plaintext",
    "request_withdrawal",
    "sign_coin_indices",
    "sign_expiration_date",
    "spend",
    "spend_dates",
    "spend_from_wallet",
    "unblind",
    "verify_blinded_signature",
    "verify_coin_indices",
    "verify_expiration_date",
    "verify_payment",
    "verify_payments",
    "verify_wallet",
]
