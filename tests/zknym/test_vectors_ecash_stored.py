"""Known answers of the reference for stored and sent forms: `stored_forms` of tests/vectors/ecash.json.

docs/protocol/07 §13.2 to §13.4, §16.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.vector_files import is_foreign_set, unhex
from tests.zknym.vector_world import FLOWS, VECTORS, Flow
from zknym import (
    BlindedSignature,
    CoinSignatureSet,
    DateSignatureSet,
    EpochKey,
    ImportableTicketBook,
    IssuedRecord,
    MerkleProof,
    PayInfo,
    PendingTicketBook,
    SignRequest,
    SpendingCredential,
    TicketBook,
    TicketType,
    UnknownRevision,
    UnknownTicketType,
    Versioned,
    WithdrawalRequest,
    decode_date,
    encode_date,
    merkle_root,
    prove_inclusion,
    request_plaintext,
)
from zknym.bincode import Reader, byte_string, varint
from zknym.dates import date_field, from_julian_day, julian_day, read_date

pytestmark = pytest.mark.vectors

if "stored_forms" not in VECTORS:
    assert is_foreign_set()
    pytest.skip("the set has no stored forms", allow_module_level=True)

STORED: dict[str, Any] = VECTORS["stored_forms"]
FLOW: Flow = FLOWS[STORED["from"]]
EPOCH: int = STORED["epoch_id"]
EXPIRATION = date.fromisoformat(STORED["expiration_date"])
TYPE = TicketType.from_label(STORED["ticketbook_type"])
KNOWN = {
    "blind_sign_request_body_bincode",
    "blind_sign_request_body_json",
    "coin_index_signatures",
    "credential_spending_data",
    "credential_spending_data_bincode",
    "credential_spending_data_bs58",
    "credential_spending_data_json",
    "date_bincode",
    "deposit_id",
    "ed25519_signing_key_seed",
    "epoch_id",
    "expiration_date",
    "expiration_date_signatures",
    "from",
    "importable_full",
    "importable_minimal",
    "issuance_ticketbook",
    "issued_ticketbook",
    "issued_ticketbook_version_serialised",
    "julian_day",
    "master_verification_key",
    "merkle",
    "pay_info_bincode",
    "pay_info_json",
    "request_plaintext",
    "request_signature",
    "spend_date",
    "spend_julian_day",
    "ticket_types",
    "ticketbook_type",
}
NOT_APPLICABLE = {
    "credential_spending_data_json_note": "a remark to the reader; both forms of the date are tested below",
}
ISSUED = [name for name in STORED if re.fullmatch(r"issued_ticketbook(_\d+_spent)?", name)]


def spent_of(name: str) -> int:
    found = re.search(r"_(\d+)_spent", name)
    return int(found[1]) if found else 0


def book(spent: int = 0) -> TicketBook:
    return TicketBook(FLOW.wallet, spent, EPOCH, FLOW.user, EXPIRATION, TYPE)


def coins() -> CoinSignatureSet:
    return CoinSignatureSet(EPOCH, FLOW.coin_set)


def dates() -> DateSignatureSet:
    return DateSignatureSet(EPOCH, EXPIRATION, FLOW.date_set)


def assert_versioned(recorded: Any, made: Any, decode: Any) -> None:
    """One stored form with its revision, both ways; other revisions are refused by name."""
    assert recorded.keys() <= {"data", "revision", "version_serialised"}
    assert made.encode().hex() == recorded["data"]
    assert recorded["revision"] == made.REVISION
    assert decode(unhex(recorded["data"]), recorded["revision"]) == made
    with pytest.raises(UnknownRevision):
        decode(unhex(recorded["data"]), recorded["revision"] + 1)


def request() -> WithdrawalRequest:
    return WithdrawalRequest.decode(unhex(FLOW.raw["withdrawal"]["request"]))


def pending() -> PendingTicketBook:
    seed = unhex(STORED["ed25519_signing_key_seed"])
    return PendingTicketBook(STORED["deposit_id"], seed, FLOW.user, TYPE, EXPIRATION)


def credential() -> SpendingCredential:
    payment, pay_info = FLOW.payment("payment_1")
    return SpendingCredential(payment, pay_info, date.fromisoformat(STORED["spend_date"]), EPOCH)


def test_every_kind_is_checked():
    assert STORED.keys() - KNOWN - set(ISSUED) - NOT_APPLICABLE.keys() == set()
    assert STORED["merkle"].keys() - {"leaves", "roots_after_each_insert"} == set(proofs())


def test_dates():
    assert encode_date(EXPIRATION) == FLOW.expiration
    assert decode_date(FLOW.expiration) == EXPIRATION
    assert TYPE.value == FLOW.ticket_type
    assert julian_day(EXPIRATION) == STORED["julian_day"]
    assert julian_day(date.fromisoformat(STORED["spend_date"])) == STORED["spend_julian_day"]
    assert from_julian_day(STORED["julian_day"]) == EXPIRATION


@pytest.mark.parametrize(("text", "encoded"), STORED["date_bincode"])
def test_dates_in_bincode(text, encoded):
    day = date.fromisoformat(text)
    assert date_field(day).hex() == encoded
    reader = Reader(unhex(encoded))
    assert read_date(reader) == day
    reader.finish()


@pytest.mark.parametrize("recorded", STORED["ticket_types"], ids=lambda item: item["name"])
def test_ticket_types(recorded):
    assert recorded.keys() == {"bincode", "bytes_per_ticket", "encoded", "json", "name"}
    ticket_type = TicketType.from_code(recorded["encoded"])
    assert TicketType.from_label(recorded["name"]) is ticket_type
    assert ticket_type.label == recorded["name"] == recorded["json"]
    assert varint(ticket_type).hex() == recorded["bincode"]
    assert ticket_type.bytes_per_ticket == recorded["bytes_per_ticket"]


def test_no_other_ticket_types():
    known = {item["encoded"] for item in STORED["ticket_types"]}
    assert known == set(TicketType)
    with pytest.raises(UnknownTicketType):
        TicketType.from_code(max(known) + 1)


@pytest.mark.parametrize("name", ISSUED)
def test_issued_book(name):
    made = book(spent_of(name))
    assert_versioned(STORED[name], made, TicketBook.decode)
    made.verify(FLOW.master)


def test_issued_book_in_a_file():
    packed = book().pack()
    assert packed.encode().hex() == STORED["issued_ticketbook_version_serialised"]
    assert Versioned.decode(unhex(STORED["issued_ticketbook_version_serialised"])) == packed


def test_pending_book():
    assert_versioned(STORED["issuance_ticketbook"], pending(), PendingTicketBook.decode)


def test_coin_index_signatures():
    assert_versioned(STORED["coin_index_signatures"], coins(), CoinSignatureSet.decode)
    assert CoinSignatureSet.from_json(coins().to_json()) == coins()


def test_date_signatures():
    assert_versioned(STORED["expiration_date_signatures"], dates(), DateSignatureSet.decode)
    assert DateSignatureSet.from_json(dates().to_json()) == dates()


def test_master_key():
    assert_versioned(STORED["master_verification_key"], EpochKey(EPOCH, FLOW.master), EpochKey.decode)


@pytest.mark.parametrize("name", ["importable_full", "importable_minimal"])
def test_export_file(name):
    recorded = STORED[name]
    assert recorded.keys() <= {"data", "revision", "version_serialised"}
    parts = (dates(), coins(), EpochKey(EPOCH, FLOW.master)) if name == "importable_full" else ()
    # Which of the recorded books went into the file is not noted beside it.
    files = [ImportableTicketBook(book(spent_of(issued)), *parts) for issued in ISSUED]
    [made] = [file for file in files if file.encode().hex() == recorded["data"]]
    assert recorded["revision"] == made.REVISION
    assert ImportableTicketBook.decode(unhex(recorded["data"])) == made
    assert ImportableTicketBook.from_base58(made.to_base58()) == made
    if parts:
        made.verify()
    if "version_serialised" in recorded:
        assert made.pack().encode().hex() == recorded["version_serialised"]
        unpacked = Versioned.decode(unhex(recorded["version_serialised"]))
        assert ImportableTicketBook.decode(unpacked.data) == made


def test_signing_request():
    body = pending().sign(request())
    assert request_plaintext(request(), STORED["deposit_id"]).hex() == STORED["request_plaintext"]
    assert body.signature.hex() == STORED["request_signature"]
    assert body.to_json() == STORED["blind_sign_request_body_json"]
    assert SignRequest.from_json(STORED["blind_sign_request_body_json"]) == body
    assert body.to_bincode().hex() == STORED["blind_sign_request_body_bincode"]
    assert SignRequest.from_bincode(unhex(STORED["blind_sign_request_body_bincode"])) == body
    key = Ed25519PrivateKey.from_private_bytes(pending().signing_key).public_key()
    body.verify(key.public_bytes_raw())


def test_pay_info():
    pay_info = credential().pay_info
    assert pay_info.to_json() == STORED["pay_info_json"]
    assert PayInfo.from_json(STORED["pay_info_json"]) == pay_info
    assert byte_string(pay_info.encode()).hex() == STORED["pay_info_bincode"]
    reader = Reader(unhex(STORED["pay_info_bincode"]))
    assert PayInfo.decode(reader.byte_string()) == pay_info
    reader.finish()


def test_credential():
    made = credential()
    assert made.encode().hex() == STORED["credential_spending_data"]
    assert SpendingCredential.decode(unhex(STORED["credential_spending_data"])) == made
    assert made.to_base58() == STORED["credential_spending_data_bs58"]
    assert SpendingCredential.from_base58(STORED["credential_spending_data_bs58"]) == made
    assert made.to_bincode().hex() == STORED["credential_spending_data_bincode"]
    assert SpendingCredential.from_bincode(unhex(STORED["credential_spending_data_bincode"])) == made
    recorded = STORED["credential_spending_data_json"]
    assert SpendingCredential.from_json(recorded) == made
    assert SpendingCredential.from_json(recorded | {"spend_date": STORED["spend_date"]}) == made
    day = date.fromisoformat(STORED["spend_date"])
    assert made.to_json() == recorded | {"spend_date": [day.year, day.timetuple().tm_yday]}
    made.verify(FLOW.master)


def proofs() -> list[str]:
    return [name for name in STORED["merkle"] if re.fullmatch(r"proof_of_indices_\d+(_and_\d+)*", name)]


def leaves() -> list[bytes]:
    return [unhex(item["leaf"]) for item in STORED["merkle"]["leaves"]]


@pytest.mark.parametrize("recorded", STORED["merkle"]["leaves"])
def test_issued_records(recorded):
    assert recorded.keys() == {"leaf", "record", "signable_plaintext"}
    record = IssuedRecord.from_json(recorded["record"])
    assert record.to_json() == recorded["record"]
    assert record.signable_plaintext().hex() == recorded["signable_plaintext"]
    assert record.leaf().hex() == recorded["leaf"]


def test_first_record_is_that_of_the_run():
    records = [IssuedRecord.from_json(item["record"]) for item in STORED["merkle"]["leaves"]]
    blinded = [
        BlindedSignature.decode(unhex(item["blinded_signature"])) for item in FLOW.raw["blinded_signatures"]
    ]
    first = records[0]
    assert first.blinded_signature in blinded
    assert first == IssuedRecord(
        STORED["deposit_id"],
        EPOCH,
        first.blinded_signature,
        request().attribute_commitments,
        EXPIRATION,
        TYPE,
    )


def test_merkle_roots():
    roots = [merkle_root(leaves()[: count + 1]).hex() for count in range(len(leaves()))]
    assert roots == STORED["merkle"]["roots_after_each_insert"]


@pytest.mark.parametrize("name", proofs())
def test_merkle_proof(name):
    recorded = STORED["merkle"][name]
    proof = prove_inclusion(leaves(), map(int, re.findall(r"\d+", name)))
    assert proof.to_json() == recorded
    assert MerkleProof.from_json(recorded) == proof
    proof.verify()
