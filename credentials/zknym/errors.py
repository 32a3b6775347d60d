"""Everything that can be wrong with e-cash data or with how this package is called.

Two class attributes let callers map an error without reading its text: ``variant`` is the name the
reference implementation gives to the same condition (docs/protocol/07 §15; empty where it has none), and
``fault`` tells whose doing it is. Everything here is computed from its arguments, so repeating a call
never helps: other arguments do, and the messages say which. No message contains a secret, a serial number
or a wallet.

::

    EcashError (ValueError)
    ├── MalformedData                              bytes, text or JSON that cannot be read
    │   ├── MalformedScalar                        not 32 bytes of a number below the group order
    │   ├── MalformedPoint                         not a compressed point of the prime-order subgroup
    │   ├── WrongLength                            a fixed layout with too few or too many bytes
    │   ├── MalformedText                          base58, hex or PEM that is not
    │   ├── MalformedBincode                       a bincode structure cut short, too long or out of range
    │   ├── MalformedJson                          a JSON value of the wrong shape
    │   ├── UnknownTicketType                      a code or name outside of the four known types
    │   └── UnknownRevision                        a stored form newer (or older) than this package reads
    ├── InvalidArgument                            the caller asks for something that cannot be
    │   ├── KeygenParameters                       threshold and number of signers do not fit together
    │   ├── KeyTooShort                            a signer's key signs fewer attributes than needed
    │   ├── VerificationKeyTooShort                the same for a public key
    │   ├── AggregationEmptySet                    nothing to aggregate
    │   ├── AggregationDuplicateIndices            one signer twice
    │   ├── AggregationSizeMismatch                keys or sets of different lengths
    │   └── UnluckiestDraw                         a random value hit the forbidden one
    ├── IssuanceError                              a withdrawal failed
    │   ├── IdentityCommitmentHash                 request: the commitment hash is the point at infinity
    │   ├── WithdrawalRequestVerification          request: hash or proof is wrong
    │   ├── DepositSignatureInvalid                request: not signed by the key of its deposit
    │   ├── IssuanceVerification                   answer: a signer's share does not verify
    │   ├── IdentitySignature                      answer: a signature contains the point at infinity
    │   └── AggregationVerification                the combined signature is wrong: too few or foreign shares
    ├── SignatureSetInvalid                        the public sets that every spender needs
    │   ├── CoinIndicesSignatureVerification
    │   └── ExpirationDateSignatureVerification
    ├── SpendError                                 this wallet cannot pay that
    │   ├── SpendExceedsAllowance
    │   ├── SpendDateTooEarly
    │   ├── SpendDateTooLate
    │   ├── InsufficientNumberOfExpirationSignatures
    │   └── InsufficientNumberOfIndexSignatures
    ├── PaymentRejected                            a payment that must not be accepted
    │   ├── SpendDuplicateSerialNumber             one ticket twice inside the payment
    │   ├── SpendZkProofVerification               the proof is wrong, or the lists do not fit the amount
    │   ├── SpendSignaturesValidity                the wallet signature is wrong
    │   ├── ExpirationDateSignatureValidity        the date signature is wrong
    │   ├── SpendSignaturesVerification            a coin-index signature is wrong
    │   ├── MultipleTickets                        gateways take one ticket at a time
    │   ├── SpendDateNotToday                      the payment is dated for another day
    │   └── PayInfoRejected                        meant for somebody else, or too old
    └── MerkleProofInvalid                         a proof of inclusion that proves nothing
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Fault(StrEnum):
    """Whose doing an error is."""

    CALLER = "caller"
    """The arguments make no sense together: a mistake of the program."""
    PEER = "peer"
    """Data from outside is wrong: a signer, a spender or a file."""
    WALLET = "wallet"
    """The wallet cannot do it: used up, expired or not yet valid."""
    CHANCE = "chance"
    """Nobody's: it will practically never be seen."""


class EcashError(ValueError):
    """Root of the tree above."""

    variant: ClassVar[str] = ""
    fault: ClassVar[Fault] = Fault.PEER


class MalformedData(EcashError):
    """Bytes, text or JSON that cannot be read."""

    variant = "DeserializationFailure"


class MalformedScalar(MalformedData):
    """Not 32 little-endian bytes of a number below the group order."""

    variant = "ScalarDeserializationFailure"


class MalformedPoint(MalformedData):
    """Not the compressed form of a point of the prime-order subgroup."""

    variant = "G1ProjectiveDeserializationFailure"


class WrongLength(MalformedData):
    """A fixed layout with too few or too many bytes."""

    variant = "DeserializationLengthMismatch"


class MalformedText(MalformedData):
    """Base58, hex or PEM text that is not."""

    variant = "MalformedString"


class MalformedBincode(MalformedData):
    """A bincode structure is cut short, has bytes left over, or holds a value out of range."""

    variant = "BinaryDeserialisationFailure"


class MalformedJson(MalformedData):
    """A JSON value has the wrong shape."""


class UnknownTicketType(MalformedData):
    """A ticket type outside of the four known ones."""


class UnknownRevision(MalformedData):
    """A stored form of a revision that this package does not read: update it, or export again."""


class InvalidArgument(EcashError):
    """The caller asks for something that cannot be."""

    fault = Fault.CALLER


class KeygenParameters(InvalidArgument):
    """Threshold and number of signers do not fit together."""

    variant = "KeygenParameters"


class KeyTooShort(InvalidArgument):
    """A signer's secret key covers fewer attributes than it is asked to sign."""

    variant = "KeyTooShort"


class VerificationKeyTooShort(InvalidArgument):
    """A verification key covers fewer attributes than it is asked to check."""

    variant = "VerificationKeyTooShort"


class AggregationEmptySet(InvalidArgument):
    """There is nothing to aggregate."""

    variant = "AggregationEmptySet"


class AggregationDuplicateIndices(InvalidArgument):
    """The same signer occurs twice."""

    variant = "AggregationDuplicateIndices"


class AggregationSizeMismatch(InvalidArgument):
    """Keys or signature sets of different lengths cannot be combined."""

    variant = "AggregationSizeMismatch"


class UnluckiestDraw(InvalidArgument):
    """A random value hit the one forbidden value: this ticket cannot be spent, the next one can."""

    variant = "UnluckiestError"
    fault = Fault.CHANCE


class IssuanceError(EcashError):
    """A withdrawal failed."""


class IdentityCommitmentHash(IssuanceError):
    """The commitment hash of a withdrawal request is the point at infinity."""

    variant = "IdentityCommitmentHash"


class WithdrawalRequestVerification(IssuanceError):
    """The commitment hash or the proof of a withdrawal request is wrong."""

    variant = "WithdrawalRequestVerification"


class DepositSignatureInvalid(IssuanceError):
    """A signing request is not signed by the key that its deposit names."""


class IssuanceVerification(IssuanceError):
    """A signer's answer does not verify: drop that share and ask another signer."""

    variant = "IssuanceVerification"


class IdentitySignature(IssuanceError):
    """A signature contains the point at infinity."""

    variant = "IdentitySignature"


class AggregationVerification(IssuanceError):
    """The combined wallet signature is wrong: fewer shares than the threshold, or shares of another epoch."""

    variant = "AggregationVerification"


class SignatureSetInvalid(EcashError):
    """A public set of signatures is not what the signers issue: fetch it from another signer."""


class CoinIndicesSignatureVerification(SignatureSetInvalid):
    """A coin-index signature set is wrong."""

    variant = "CoinIndicesSignatureVerification"


class ExpirationDateSignatureVerification(SignatureSetInvalid):
    """An expiration-date signature set is wrong."""

    variant = "ExpirationDateSignatureVerification"


class SpendError(EcashError):
    """This wallet cannot make that payment."""

    fault = Fault.WALLET


class SpendExceedsAllowance(SpendError):
    """More tickets are asked for than the book has left."""

    variant = "SpendExceedsAllowance"

    def __init__(self, spending: int, remaining: int) -> None:
        super().__init__(f"cannot spend {spending} tickets: the book has {remaining} left; use another book")
        self.spending = spending
        self.remaining = remaining


class SpendDateTooEarly(SpendError):
    """The spend date lies before the first day of the book."""

    variant = "SpendDateTooEarly"


class SpendDateTooLate(SpendError):
    """The spend date lies behind the expiration date: the book is worth nothing any more."""

    variant = "SpendDateTooLate"


class InsufficientNumberOfExpirationSignatures(SpendError):
    """Spending needs all date signatures of the book's expiration date."""

    variant = "InsufficientNumberOfExpirationSignatures"
    fault = Fault.CALLER


class InsufficientNumberOfIndexSignatures(SpendError):
    """Spending needs all coin-index signatures of the book's epoch."""

    variant = "InsufficientNumberOfIndexSignatures"
    fault = Fault.CALLER


class PaymentRejected(EcashError):
    """A payment must not be accepted."""


class SpendDuplicateSerialNumber(PaymentRejected):
    """One ticket occurs twice inside the payment."""

    variant = "SpendDuplicateSerialNumber"


class SpendZkProofVerification(PaymentRejected):
    """The proof of the payment is wrong, or its lists do not fit the number of tickets."""

    variant = "SpendZKProofVerification"


class SpendSignaturesValidity(PaymentRejected):
    """The wallet signature of the payment is wrong."""

    variant = "SpendSignaturesValidity"


class ExpirationDateSignatureValidity(PaymentRejected):
    """The date signature of the payment is wrong, or the payment is dated for another day."""

    variant = "ExpirationDateSignatureValidity"


class SpendSignaturesVerification(PaymentRejected):
    """A coin-index signature of the payment is wrong."""

    variant = "SpendSignaturesVerification"


class MultipleTickets(PaymentRejected):
    """A gateway takes exactly one ticket per payment."""


class SpendDateNotToday(PaymentRejected):
    """A gateway takes payments dated for its own UTC day only."""


class PayInfoRejected(PaymentRejected):
    """The payment is meant for another gateway, or its time is too far from now."""


class MerkleProofInvalid(EcashError):
    """A proof of inclusion does not lead to the root it names."""
