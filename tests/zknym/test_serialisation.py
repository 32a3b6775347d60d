"""Every form both ways: what is written is read again, what is cut short, extended or odd is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zknym.ecash_world import EPOCH, EXPIRATION, TODAY, TYPE, WORLD
from zknym import (
    BlindedSignature,
    CoinSignatureSet,
    DateSignatureSet,
    DepositSignatureInvalid,
    EpochKey,
    ImportableTicketBook,
    InvalidArgument,
    IssuedRecord,
    MalformedData,
    MerkleProof,
    MerkleProofInvalid,
    PartialWallet,
    PayInfo,
    Payment,
    PendingTicketBook,
    RequestInfo,
    Signature,
    SignerSecretKey,
    SignRequest,
    SpendingCredential,
    TicketBook,
    UserPublicKey,
    UserSecretKey,
    VerificationKey,
    Versioned,
    Wallet,
    WalletSignatures,
    WithdrawalRequest,
    merkle_root,
    prove_inclusion,
)

PAYMENT, PAY_INFO = WORLD.pay(tickets=2)
CREDENTIAL = SpendingCredential(PAYMENT, PAY_INFO, TODAY, EPOCH)
PENDING = PendingTicketBook(4242, bytes(range(32)), WORLD.user, TYPE, EXPIRATION)
DEPOSIT_KEY = Ed25519PrivateKey.from_private_bytes(PENDING.signing_key).public_key().public_bytes_raw()
SIGN_REQUEST = PENDING.sign(WORLD.request)
FILE = ImportableTicketBook(WORLD.book, WORLD.date_set, WORLD.coin_set, WORLD.epoch_key)
RECORD = IssuedRecord(4242, EPOCH, WORLD.blinded[1], WORLD.request.attribute_commitments, EXPIRATION, TYPE)
LEAVES = [bytes([i]) * 32 for i in range(11)]
CUTS = 40
"""Lengths to which a long form is cut, evenly spread, the last bytes one by one."""


@dataclass(frozen=True)
class Form:
    """One way to write a value."""

    name: str
    value: Any
    to_bytes: Callable[[Any], bytes]
    decode: Callable[[bytes], object]

    def encode(self) -> bytes:
        return self.to_bytes(self.value)


def form(value: Any) -> Form:
    return Form(type(value).__name__, value, type(value).encode, type(value).decode)


BINARY = [
    *map(
        form,
        (
            WORLD.signers[0].secret,
            WORLD.master,
            WORLD.user,
            WORLD.user.public_key(),
            WORLD.wallet.signature,
            WORLD.blinded[1],
            WORLD.request,
            WORLD.info,
            WORLD.shares[0],
            WORLD.wallet,
            Wallet(WORLD.wallet, 7),
            PAY_INFO,
            PAYMENT,
            CREDENTIAL,
            PENDING,
            WORLD.book,
            WORLD.epoch_key,
            WORLD.coin_set,
            WORLD.date_set,
            FILE,
            ImportableTicketBook(WORLD.book),
            WORLD.book.pack(),
        ),
    ),
    Form("key pair", WORLD.user, UserSecretKey.encode_pair, UserSecretKey.decode_pair),
    Form(
        "SpendingCredential bincode",
        CREDENTIAL,
        SpendingCredential.to_bincode,
        SpendingCredential.from_bincode,
    ),
    Form("SignRequest bincode", SIGN_REQUEST, SignRequest.to_bincode, SignRequest.from_bincode),
]
JSON = [
    WORLD.master,
    WORLD.user,
    WORLD.user.public_key(),
    WORLD.wallet.signature,
    WORLD.blinded[1],
    WORLD.request,
    WORLD.info,
    WORLD.wallet,
    Wallet(WORLD.wallet, 7),
    PAY_INFO,
    PAYMENT,
    CREDENTIAL,
    SIGN_REQUEST,
    WORLD.coins[3],
    WORLD.dates[3],
    WORLD.coin_set,
    WORLD.date_set,
    RECORD,
    prove_inclusion(LEAVES, [2, 7]),
]
BASE58 = [
    WORLD.master,
    WORLD.user.public_key(),
    WORLD.wallet.signature,
    WORLD.blinded[1],
    WORLD.request,
    PAY_INFO,
    PAYMENT,
    CREDENTIAL,
    FILE,
]


def test_every_class_with_a_binary_form_is_here():
    assert {type(item.value) for item in BINARY} >= {
        BlindedSignature,
        CoinSignatureSet,
        DateSignatureSet,
        EpochKey,
        ImportableTicketBook,
        PartialWallet,
        PayInfo,
        Payment,
        PendingTicketBook,
        RequestInfo,
        Signature,
        SignerSecretKey,
        SpendingCredential,
        TicketBook,
        UserPublicKey,
        UserSecretKey,
        VerificationKey,
        Versioned,
        Wallet,
        WalletSignatures,
        WithdrawalRequest,
    }


@pytest.mark.parametrize("item", BINARY, ids=lambda item: item.name)
def test_round_trip(item: Form):
    encoded = item.encode()
    assert item.decode(encoded) == item.value


@pytest.mark.parametrize("item", BINARY, ids=lambda item: item.name)
def test_cut_short_and_extended(item: Form):
    encoded = item.encode()
    lengths = {len(encoded) * i // CUTS for i in range(CUTS)} | set(
        range(max(0, len(encoded) - 10), len(encoded))
    )
    for length in lengths:
        with pytest.raises(MalformedData):
            item.decode(encoded[:length])
    for extra in (b"\0", b"\1", bytes(48)):
        with pytest.raises(MalformedData):
            item.decode(encoded + extra)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(BINARY), st.data())
def test_damaged_bytes_never_raise_anything_else(item: Form, data):
    """And what can still be read is another value: each value has one encoding."""
    encoded = item.encode()
    position = data.draw(st.integers(0, len(encoded) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != encoded[position]))
    damaged = encoded[:position] + bytes([byte]) + encoded[position + 1 :]
    try:
        decoded = item.decode(damaged)
    except MalformedData:
        return
    assert decoded != item.value
    assert item.to_bytes(decoded) == damaged


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(BINARY), st.binary(max_size=300))
def test_junk_is_malformed_or_canonical(item: Form, junk):
    try:
        decoded = item.decode(junk)
    except MalformedData:
        return
    assert item.to_bytes(decoded) == junk


@pytest.mark.parametrize("value", JSON, ids=lambda value: type(value).__name__)
def test_json_round_trip(value):
    text = json.dumps(value.to_json())
    assert type(value).from_json(json.loads(text)) == value


@pytest.mark.parametrize("value", JSON, ids=lambda value: type(value).__name__)
def test_json_of_the_wrong_shape(value):
    sound = json.loads(json.dumps(value.to_json()))
    wrong = [None, 1, "x", [], {}, *damaged(sound)]
    assert len(wrong) > 8
    for case in wrong:
        with pytest.raises(MalformedData):
            type(value).from_json(case)


def damaged(sound: Any) -> list[Any]:
    """Copies with one leaf or list replaced by something that is never right."""
    found = []

    def walk(node: Any, path: list[Any]) -> None:
        for key, item in node.items() if isinstance(node, dict) else enumerate(node):
            # Lists of numbers or many alike: the first tells.
            if isinstance(node, list) and key:
                break
            if isinstance(item, (dict, list)):
                walk(item, [*path, key])
            for replacement in (None, -1, 1.5, "no hex", {"a": 1}, True):
                changed = copy.deepcopy(sound)
                parent = changed
                for step in path:
                    parent = parent[step]
                parent[key] = replacement
                found.append(changed)

    walk(sound, [])
    return found


@pytest.mark.parametrize("value", BASE58, ids=lambda value: type(value).__name__)
def test_base58_round_trip(value):
    assert type(value).from_base58(value.to_base58()) == value
    text = value.to_base58()
    for wrong in ("", "0", text[: len(text) // 2], "1" + text, text + "O", text + " "):
        with pytest.raises(MalformedData):
            type(value).from_base58(wrong)


@pytest.mark.parametrize("value", [WORLD.master, WORLD.signers[0].secret], ids=lambda v: type(v).__name__)
def test_pem(value):
    text = value.to_pem()
    assert type(value).from_pem(text) == type(value).from_pem(text.replace("\r\n", "\n")) == value
    for broken in ("", text[:-30], text.replace("ECASH", "OTHER"), text.replace("\r\n", "\r\n*", 1)):
        with pytest.raises(MalformedData):
            type(value).from_pem(broken)


def test_signed_request_is_bound_to_its_deposit():
    SIGN_REQUEST.verify(DEPOSIT_KEY)
    other = PendingTicketBook(4243, PENDING.signing_key, WORLD.user, TYPE, EXPIRATION).sign(WORLD.request)
    for body in (SIGN_REQUEST, other):
        body.verify(DEPOSIT_KEY)
    stolen = SignRequest(other.request, 4242, other.signature, other.user, EXPIRATION, TYPE)
    for request, key in ((stolen, DEPOSIT_KEY), (SIGN_REQUEST, bytes(32)), (SIGN_REQUEST, b"short")):
        with pytest.raises(DepositSignatureInvalid):
            request.verify(key)


def test_export_files_are_checked_as_a_whole():
    FILE.verify()
    later = EpochKey(EPOCH + 1, WORLD.master)
    for file in (ImportableTicketBook(WORLD.book), ImportableTicketBook(WORLD.book, master_key=later)):
        with pytest.raises(InvalidArgument):
            file.verify()


@given(st.integers(1, 40), st.data())
def test_merkle_proofs(total, data):
    leaves = [i.to_bytes(32, "big") for i in range(total)]
    indices = data.draw(st.sets(st.integers(0, total - 1), min_size=1))
    proof = prove_inclusion(leaves, indices)
    proof.verify()
    assert proof.root == merkle_root(leaves)
    assert [index for index, _ in proof.included] == sorted(indices)
    index, leaf = proof.included[0]
    wrong_leaf = ((index, bytes([leaf[0] ^ 1]) + leaf[1:]), *proof.included[1:])
    for broken in (
        MerkleProof(proof.siblings, wrong_leaf, total, proof.root),
        MerkleProof((*proof.siblings, bytes(32)), proof.included, total, proof.root),
        MerkleProof(proof.siblings, proof.included, total, bytes(31) + b"\xff"),
        MerkleProof(proof.siblings, (), total, proof.root),
    ):
        with pytest.raises(MerkleProofInvalid):
            broken.verify()
