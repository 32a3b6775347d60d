"""What upstream's programs sent, stored and accepted, as far as it is e-cash: chain.json and recorded-chain.json.

docs/protocol/09 (exchanges with signers), docs/protocol/10 §4 (the store). What of these files concerns the
chain, HTTP or signed envelopes belongs to the packages that speak those.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from tests.vector_files import is_foreign_set, load, unhex
from zknym import (
    BlindedSignature,
    CoinSignatureSet,
    DateSignatureSet,
    DoubleSpender,
    EpochKey,
    ImportableTicketBook,
    IssuedRecord,
    PartialWallet,
    PayInfo,
    Payment,
    PendingTicketBook,
    RequestInfo,
    SignerSecretKey,
    SignRequest,
    SpendingCredential,
    TicketBook,
    TicketType,
    UserPublicKey,
    UserSecretKey,
    VerificationKey,
    WalletSignatures,
    WithdrawalRequest,
    aggregate_verification_keys,
    aggregate_wallet,
    b58decode,
    blind_sign,
    encode_date,
    identify,
    merkle_root,
    request_plaintext,
    unblind,
)

pytestmark = pytest.mark.vectors

STORED_FORMS = {
    "coin_indices_signatures": CoinSignatureSet,
    "epoch_verification_key": EpochKey,
    "expiration_date_signatures": DateSignatureSet,
    "issued_ticketbook": TicketBook,
    "pending_ticketbook": PendingTicketBook,
}


@pytest.fixture(scope="module")
def chain() -> dict[str, Any]:
    return load("chain")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return load("recorded-chain")


@pytest.fixture(scope="module")
def secrets(recorded) -> dict[int, SignerSecretKey]:
    return {
        item["index"]: SignerSecretKey.decode(unhex(item["secret_key_hex"]))
        for item in recorded["state"]["signers"]
    }


@pytest.fixture(scope="module")
def master(recorded) -> VerificationKey:
    return VerificationKey.decode(unhex(recorded["state"]["master_verification_key_hex"]))


class TestChain:
    """Made by the reference's crates."""

    def test_blind_signing(self, chain):
        recorded = chain["blind_sign"]
        user = UserSecretKey.from_seed(unhex(recorded["client_secret_hex"]))
        assert user.encode().hex() == recorded["ecash_user_secret_hex"]
        assert user.public_key().encode().hex() == recorded["ecash_user_public_hex"]
        assert user.public_key() == UserPublicKey.from_base58(recorded["ecash_user_public_bs58"])
        expiration = date.fromisoformat(recorded["expiration_date"])
        assert encode_date(expiration) == recorded["expiration_unix_timestamp"]
        kind = TicketType.from_label(recorded["ticketbook_type"])
        assert kind == recorded["ticketbook_type_encoded"]
        request = WithdrawalRequest.decode(unhex(recorded["withdrawal_request_bytes_hex"]))
        plaintext = request_plaintext(request, recorded["deposit_id"])
        assert plaintext.hex() == recorded["signature_plaintext_hex"]
        seed = unhex(recorded["deposit_ed25519_seed_hex"])
        body = PendingTicketBook(recorded["deposit_id"], seed, user, kind, expiration).sign(request)
        assert json.dumps(body.to_json(), separators=(",", ":")) == recorded["request_body_json"]
        assert SignRequest.from_json(json.loads(recorded["request_body_json"])) == body
        assert body.signature.hex() == recorded["signature_hex"]
        assert body.signature == b58decode(recorded["signature_bs58"])
        body.verify(b58decode(recorded["deposit_ed25519_public_bs58"]))
        info = RequestInfo.from_json(json.loads(recorded["request_info_json"]))
        joined = b"".join(point.to_compressed_bytes() for point in request.attribute_commitments)
        assert joined.hex() == recorded["joined_commitments_hex"]

        signers = {item["index"]: item for item in recorded["signers"]}
        shares = []
        for answer in recorded["responses"]:
            signer = signers[answer["signer_index"]]
            secret = SignerSecretKey.decode(unhex(signer["secret_key_bytes_hex"]))
            key = VerificationKey.decode(unhex(signer["vk_bytes_hex"]))
            assert secret.verification_key() == key == VerificationKey.from_base58(signer["vk_bs58"])
            blinded = blind_sign(secret, user.public_key(), request, encode_date(expiration), kind)
            assert blinded.encode().hex() == answer["blinded_signature_bytes_hex"]
            assert blinded == BlindedSignature.from_json(
                json.loads(answer["response"]["json"])["blinded_signature"]
            )
            share = unblind(blinded, info, user, key, signer["index"])
            assert share.encode().hex() == answer["partial_wallet_bytes_hex"]
            assert share == PartialWallet.decode(unhex(answer["partial_wallet_bytes_hex"]))
            shares.append(share)
        assert len(shares) > recorded["threshold"]
        master = VerificationKey.decode(unhex(chain["global_data"]["master_vk_bytes_hex"]))
        for chosen in (shares, shares[: recorded["threshold"]], shares[-recorded["threshold"] :]):
            wallet = aggregate_wallet(chosen, user, master)
            assert wallet.encode().hex() == recorded["aggregated_wallet_signatures_bytes_hex"]

    def test_public_data(self, chain):
        data = chain["global_data"]
        master = VerificationKey.from_base58(data["master_vk_bs58"])
        assert (
            VerificationKey.from_json(json.loads(data["master_verification_key_response"]["json"])["key"])
            == master
        )
        signer = chain["blind_sign"]["signers"][0]
        assert signer["index"] == 1
        own = VerificationKey.decode(unhex(signer["vk_bytes_hex"]))
        for name, key in (("aggregated", None), ("partial", own)):
            suffix = "" if key is None else "_signer1"
            text = data[f"{name}_coin_indices_response{suffix}"]["json"]
            coins = CoinSignatureSet.from_json(json.loads(text))
            coins.verify(master, key=key)
            assert json.dumps(coins.to_json(), separators=(",", ":")) == text
            text = data[f"{name}_expiration_date_response{suffix}"]["json"]
            dates = DateSignatureSet.from_json(json.loads(text))
            dates.verify(key or master)
            assert json.dumps(dates.to_json(), separators=(",", ":")) == text
            assert dates.expiration == date.fromisoformat(data["expiration_date"])
            assert coins.epoch_id == dates.epoch_id == data["epoch_id"]

    @pytest.mark.parametrize(("name", "kind"), STORED_FORMS.items())
    def test_stored_forms(self, chain, name, kind):
        recorded = chain["storage"][name]
        value = kind.decode(unhex(recorded["data_hex"]), recorded["revision"])
        assert value.encode().hex() == recorded["data_hex"]
        assert recorded["revision"] == value.REVISION

    def test_export_files(self, chain):
        storage = chain["storage"]
        bare = ImportableTicketBook.decode(unhex(storage["importable_bare"]["data_hex"]))
        assert bare.encode().hex() == storage["importable_bare"]["data_hex"]
        parts = {
            name: kind.decode(unhex(storage[name]["data_hex"]), storage[name]["revision"])
            for name, kind in STORED_FORMS.items()
        }
        full = ImportableTicketBook(
            bare.book,
            parts["expiration_date_signatures"],
            parts["coin_indices_signatures"],
            parts["epoch_verification_key"],
        )
        full.verify()
        assert len(full.encode()) == storage["importable_full_len"]
        assert hashlib.sha256(full.encode()).hexdigest() == storage["importable_full_sha256"]

    def test_spends(self, chain):
        master = VerificationKey.decode(unhex(chain["global_data"]["master_vk_bytes_hex"]))
        assert chain["spends"]
        for recorded in chain["spends"]:
            check_credential(recorded, master)
            body = json.loads(recorded["verify_ticket_body_json"])
            credential = SpendingCredential.from_json(body["credential"])
            assert credential.encode().hex() == recorded["credential_bytes_hex"]
            assert (
                json.dumps(
                    {"credential": credential.to_json(), "gateway_cosmos_addr": body["gateway_cosmos_addr"]},
                    separators=(",", ":"),
                )
                == recorded["verify_ticket_body_json"]
            )

    def test_audit(self, chain):
        recorded = chain["signed_responses"]
        record = IssuedRecord.from_json(json.loads(recorded["issued_ticketbook"]["json"]))
        assert json.dumps(record.to_json(), separators=(",", ":")) == recorded["issued_ticketbook"]["json"]
        assert record.signable_plaintext().hex() == recorded["merkle_leaf_preimage_hex"]
        assert record.leaf().hex() == recorded["merkle_leaf_hex"]
        assert merkle_root([record.leaf()]).hex() == recorded["merkle_root_hex"]


def check_credential(recorded: dict[str, Any], master: VerificationKey) -> SpendingCredential:
    """A payment that the reference made or took."""
    credential = SpendingCredential.decode(
        unhex(recorded.get("credential_bytes_hex") or recorded["credential_hex"])
    )
    payment = recorded.get("payment_bytes_hex") or recorded["payment_hex"]
    assert credential.payment.encode().hex() == payment
    assert credential.payment == Payment.decode(unhex(payment))
    assert credential.pay_info == PayInfo.decode(unhex(recorded["pay_info_hex"]))
    assert credential.spend_date.isoformat() == recorded["spend_date"]
    assert credential.payment.encoded_serial_number().hex() == recorded["serial_number_hex"]
    credential.verify(master)
    return credential


class TestRecorded:
    """Recorded between upstream's finished programs and independent signers."""

    @staticmethod
    def exchanges(recorded: dict[str, Any], route: str) -> Iterator[tuple[int, Any, Any]]:
        """(signer, body of the request, body of the answer) of the successful calls of a route."""
        for flow in recorded["flows"]:
            for step in flow["steps"]:
                request = step.get("request")
                if step["to"].startswith("signer ") and f"/ecash/{route}" in request["path"]:
                    assert step["response"]["status"] == 200
                    yield int(step["to"].split()[1]), request.get("body"), step["response"]["body"]

    def test_keys(self, recorded, secrets, master):
        for item in recorded["state"]["signers"]:
            public = secrets[item["index"]].verification_key()
            assert public.encode().hex() == item["verification_key_hex"]
        shares = [(index, secret.verification_key()) for index, secret in secrets.items()]
        assert aggregate_verification_keys(shares) == master
        assert aggregate_verification_keys(shares[: recorded["state"]["threshold"]]) == master

    def test_public_data(self, recorded, master):
        seen = 0
        for _, _, body in self.exchanges(recorded, "master-verification-key"):
            assert VerificationKey.from_json(body["key"]) == master
            seen += 1
        for _, _, body in self.exchanges(recorded, "aggregated-coin-indices-signatures"):
            assert CoinSignatureSet.from_json(body).to_json() == body
            CoinSignatureSet.from_json(body).verify(master)
            seen += 1
        for _, _, body in self.exchanges(recorded, "aggregated-expiration-date-signatures"):
            assert DateSignatureSet.from_json(body).to_json() == body
            DateSignatureSet.from_json(body).verify(master)
            seen += 1
        assert seen or is_foreign_set()

    def test_upstreams_requests_get_the_recorded_answers(self, recorded, secrets):
        seen = 0
        for signer, sent, answered in self.exchanges(recorded, "blind-sign"):
            body = SignRequest.from_json(sent)
            assert body.to_json() == sent
            blinded = blind_sign(
                secrets[signer], body.user, body.request, encode_date(body.expiration), body.ticket_type
            )
            assert {"blinded_signature": blinded.to_json()} == answered
            seen += 1
        assert seen or is_foreign_set()

    def test_upstreams_tickets_are_valid(self, recorded, master):
        seen = 0
        for _, sent, _ in self.exchanges(recorded, "verify-ecash-ticket"):
            credential = SpendingCredential.from_json(sent["credential"])
            assert SpendingCredential.decode(credential.encode()) == credential
            assert credential.to_json() == sent["credential"]
            credential.verify(master)
            seen += 1
        assert seen or is_foreign_set()

    def test_the_double_spender(self, recorded, master):
        tickets = recorded["tickets"]
        first = check_credential(tickets["accepted_by_gateway_1"], master)
        second = check_credential(tickets["double_spend_at_gateway_2"], master)
        found = identify(first.payment, first.pay_info, second.payment, second.pay_info)
        rows = recorded["storage"]["client_database_rows"]["ecash_ticketbook"]
        users = {TicketBook.decode(unhex(row["ticketbook_data"])).user.public_key() for row in rows}
        users.add(UserSecretKey.decode(unhex(recorded["storage"]["book"]["user_secret_hex"])).public_key())
        assert isinstance(found, DoubleSpender)
        assert found.public_key in users

    def test_what_upstream_exported(self, recorded, master):
        storage = recorded["storage"]
        file = ImportableTicketBook.decode(unhex(storage["importable_full_hex"]))
        assert file.encode().hex() == storage["importable_full_hex"]
        file.verify()
        assert file.master_key is not None
        assert file.master_key.key == master
        book, written = file.book, storage["book"]
        assert book.wallet == WalletSignatures.from_json(
            {
                "sig": {"h": written["sig_h"], "s": written["sig_s"]},
                "v": written["wallet_secret_hex"],
                "expiration_date_timestamp": written["expiration_timestamp"],
                "t_type": written["type_code"],
            }
        )
        assert book.user.encode().hex() == written["user_secret_hex"]
        assert book.user == UserSecretKey.from_seed(unhex(recorded["state"]["client_secret_of_flow_1_hex"]))
        assert book.expiration.isoformat() == written["expiration_date"]
        assert (book.spent_tickets, book.epoch_id) == (written["spent_tickets"], written["epoch_id"])
        parts = storage["importable_parts"]
        assert book.encode().hex() == parts["book"]["data_hex"]
        assert file.date_signatures is not None
        assert file.date_signatures.encode().hex() == parts["expiration_date_signatures"]["data_hex"]
        assert file.coin_signatures is not None
        assert file.coin_signatures.encode().hex() == parts["coin_index_signatures"]["data_hex"]
        assert file.master_key.encode().hex() == parts["master_verification_key"]["data_hex"]

    def test_what_upstream_stored(self, recorded, master):
        rows = recorded["storage"]["client_database_rows"]
        for row in rows["ecash_ticketbook"]:
            book = TicketBook.decode(unhex(row["ticketbook_data"]), row["serialization_revision"])
            assert book.encode().hex() == row["ticketbook_data"]
            assert book.ticket_type.label == row["ticketbook_type"]
            assert book.expiration.isoformat() == row["expiration_date"]
            assert book.epoch_id == row["epoch_id"]
            book.verify(master)
        for row in rows["expiration_date_signatures"]:
            data = unhex(row["serialised_signatures"])
            dates = DateSignatureSet.decode(data, row["serialization_revision"])
            assert dates.encode() == data
            assert (dates.epoch_id, dates.expiration.isoformat()) == (row["epoch_id"], row["expiration_date"])
            dates.verify(master)
        for row in rows["coin_indices_signatures"]:
            data = unhex(row["serialised_signatures"])
            coins = CoinSignatureSet.decode(data, row["serialization_revision"])
            assert coins.encode() == data
            assert coins.epoch_id == row["epoch_id"]
            coins.verify(master)
        for row in rows["master_verification_key"]:
            data = unhex(row["serialised_key"])
            key = EpochKey.decode(data, row["serialization_revision"])
            assert key == EpochKey(row["epoch_id"], master)
            assert key.encode() == data
        for row in rows["pending_issuance"]:
            data = unhex(row["pending_ticketbook_data"])
            pending = PendingTicketBook.decode(data, row["serialization_revision"])
            assert pending.encode() == data
            assert (pending.deposit_id, pending.expiration.isoformat()) == (
                row["deposit_id"],
                row["expiration_date"],
            )
