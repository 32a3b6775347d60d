"""What signers publish about issued books, for audits (docs/protocol/07 §13.4)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from zknym.constants import G1_BYTES, MAX_U32
from zknym.curve import G1, decode_g1, encode_g1
from zknym.dates import date_from_text, julian_day
from zknym.errors import InvalidArgument, MalformedText, MerkleProofInvalid, WrongLength
from zknym.json_fields import Json, JsonObject, array, hex_bytes, integer, member, text
from zknym.signatures import BlindedSignature
from zknym.ticket_types import TicketType

_HASH_BYTES: Final = 32
_MOST_LEAVES: Final = 2**24
"""More books than can be issued for one date; bounds what a proof can make its reader do."""


@dataclass(frozen=True, slots=True)
class IssuedRecord:
    """One issued book as its signer remembers it. All of it is public and blinded."""

    deposit_id: int
    epoch_id: int
    blinded_signature: BlindedSignature
    attribute_commitments: tuple[G1, G1]
    expiration: date
    ticket_type: TicketType

    def signable_plaintext(self) -> bytes:
        """What is hashed into the tree and signed in answers to audits."""
        return (
            self.deposit_id.to_bytes(4, "big")
            + self.epoch_id.to_bytes(8, "big")
            + self.blinded_signature.encode()
            + self._encoded_commitments()
            + julian_day(self.expiration).to_bytes(4, "big", signed=True)
            + bytes([self.ticket_type])
        )

    def leaf(self) -> bytes:
        """32 bytes: its place in the tree of its expiration date."""
        return hashlib.sha256(self.signable_plaintext()).digest()

    def to_json(self) -> JsonObject:
        """The form in a signer's answer to an audit."""
        return {
            "depositId": self.deposit_id,
            "epochId": self.epoch_id,
            "blindedPartialCredential": _base64(self.blinded_signature.encode()),
            "joinedEncodedPrivateAttributesCommitments": _base64(self._encoded_commitments()),
            "expirationDate": self.expiration.isoformat(),
            "ticketbookType": self.ticket_type.label,
        }

    @classmethod
    def from_json(cls, value: Json) -> IssuedRecord:
        """The inverse of `to_json`. Raises `MalformedData`."""
        commitments = _from_base64(member(value, "joinedEncodedPrivateAttributesCommitments"))
        if len(commitments) != 2 * G1_BYTES:
            raise WrongLength(f"two commitments have {2 * G1_BYTES} bytes, not {len(commitments)}")
        return cls(
            integer(member(value, "depositId"), MAX_U32),
            integer(member(value, "epochId")),
            BlindedSignature.decode(_from_base64(member(value, "blindedPartialCredential"))),
            (decode_g1(commitments[:G1_BYTES]), decode_g1(commitments[G1_BYTES:])),
            date_from_text(text(member(value, "expirationDate"))),
            TicketType.from_label(text(member(value, "ticketbookType"))),
        )

    def _encoded_commitments(self) -> bytes:
        return b"".join(encode_g1(point) for point in self.attribute_commitments)


@dataclass(frozen=True, slots=True)
class MerkleProof:
    """Shows that leaves are in a tree. `siblings` go from the bottom layer up, left to right."""

    siblings: tuple[bytes, ...]
    included: tuple[tuple[int, bytes], ...]
    """(index, leaf), ascending."""
    total_leaves: int
    root: bytes

    def verify(self) -> None:
        """That these leaves lead to that root. The caller compares the root with the one it trusts.

        Raises `MerkleProofInvalid`.
        """
        known = dict(self.included)
        if (
            not known
            or len(known) != len(self.included)
            or not all(0 <= i < self.total_leaves for i in known)
        ):
            raise MerkleProofInvalid("a proof without leaves, or of leaves that the tree does not have")
        siblings, width = iter(self.siblings), self.total_leaves
        try:
            while width > 1:
                for i in _missing_siblings(known, width):
                    known[i] = next(siblings)
                known = {i // 2: _parent(known, i, width) for i in known if i % 2 == 0}
                width = -(-width // 2)
        except StopIteration:
            raise MerkleProofInvalid("a proof with too few hashes") from None
        if next(siblings, None) is not None or known[0] != self.root:
            raise MerkleProofInvalid("the proof does not lead to its root")

    def to_json(self) -> JsonObject:
        """The form in a signer's answer to an audit."""
        return {
            "inner_proof": _base64(b"".join(self.siblings)),
            "included_leaves": [{"hash": leaf.hex(), "index": index} for index, leaf in self.included],
            "total_leaves": self.total_leaves,
            "root": self.root.hex(),
        }

    @classmethod
    def from_json(cls, value: Json) -> MerkleProof:
        """The inverse of `to_json`. Raises `MalformedData`."""
        siblings = _from_base64(member(value, "inner_proof"))
        if len(siblings) % _HASH_BYTES:
            raise WrongLength(f"hashes have {_HASH_BYTES} bytes each")
        included = array(member(value, "included_leaves"), _MOST_LEAVES)
        return cls(
            tuple(siblings[i : i + _HASH_BYTES] for i in range(0, len(siblings), _HASH_BYTES)),
            tuple((integer(member(leaf, "index")), hex_bytes(member(leaf, "hash"))) for leaf in included),
            integer(member(value, "total_leaves"), _MOST_LEAVES),
            hex_bytes(member(value, "root")),
        )


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaves in order of issuance; that of one leaf is the leaf. Raises `InvalidArgument`."""
    return _layers(leaves)[-1][0]


def prove_inclusion(leaves: Sequence[bytes], indices: Iterable[int]) -> MerkleProof:
    """A proof for the leaves at `indices`. Raises `InvalidArgument` for those that do not exist."""
    wanted = sorted(set(indices))
    layers = _layers(leaves)
    if not wanted or not 0 <= wanted[0] <= wanted[-1] < len(leaves):
        raise InvalidArgument("a proof needs at least one leaf, and only leaves of the tree")
    siblings: list[bytes] = []
    known = set(wanted)
    for layer in layers[:-1]:
        siblings += [layer[i] for i in _missing_siblings(known, len(layer))]
        known = {i // 2 for i in known}
    included = tuple((i, leaves[i]) for i in wanted)
    return MerkleProof(tuple(siblings), included, len(leaves), layers[-1][0])


def _layers(leaves: Sequence[bytes]) -> list[list[bytes]]:
    if not leaves:
        raise InvalidArgument("a tree needs at least one leaf")
    layers = [list(leaves)]
    while len(layers[-1]) > 1:
        layer = dict(enumerate(layers[-1]))
        layers.append([_parent(layer, i, len(layer)) for i in range(0, len(layer), 2)])
    return layers


def _parent(layer: dict[int, bytes], left: int, width: int) -> bytes:
    """A node without a sibling goes up unchanged."""
    if left + 1 == width:
        return layer[left]
    return hashlib.sha256(layer[left] + layer[left + 1]).digest()


def _missing_siblings(known: Iterable[int], width: int) -> list[int]:
    have = set(known)
    return sorted({i ^ 1 for i in have if i ^ 1 < width} - have)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(value: Json) -> bytes:
    try:
        return base64.b64decode(text(value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedText("not base64") from error
