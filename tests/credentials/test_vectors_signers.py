"""What signers send and are sent, byte for byte: chain.json and recorded-chain.json (docs/protocol/09)."""

from __future__ import annotations

import json
from datetime import date
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web

from nym_credentials.signers import refusals
from nym_credentials.signers.audits import AuditRequest, ChallengeAnswer, DataAnswer, IssuedCounts, IssuedFor
from nym_credentials.signers.client_io import SignerHttp
from nym_credentials.signers.envelope import Envelope, EnvelopeSignatureInvalid
from nym_credentials.signers.epoch import Signer
from nym_credentials.signers.issuance import (
    BlindSignAnswer,
    CoinSignaturesAnswer,
    DateSignaturesAnswer,
    MasterKeyAnswer,
)
from nym_credentials.signers.refusals import Refusal, Verdict
from nym_credentials.signers.routes import Route, date_parameter, epoch_parameter, target
from nym_credentials.signers.status import SignerStatus
from nym_credentials.signers.tickets import (
    BatchRedeemAnswer,
    BatchRedeemRequest,
    Rejection,
    SpentFilterAnswer,
    VerifyTicketAnswer,
    VerifyTicketRequest,
)
from nym_credentials.signers.wire import Body, Output, WireReader, byte_string, compact, varint
from tests.credentials.signers.mini_signers import serve
from tests.vector_files import is_foreign_set, load, unhex
from zknym import (
    IssuedRecord,
    PaymentRejected,
    SignerSecretKey,
    SignRequest,
    VerificationKey,
    aggregate_verification_keys,
    b58decode,
    blind_sign,
    encode_date,
    merkle_root,
)

pytestmark = pytest.mark.vectors

NOT_APPLICABLE = {
    "yaml": "no program of the network asks for it, and neither do we",
}
GLOBAL_BODIES = {
    "aggregated_coin_indices_response": CoinSignaturesAnswer,
    "aggregated_expiration_date_response": DateSignaturesAnswer,
    "master_verification_key_response": MasterKeyAnswer,
    "partial_coin_indices_response_signer1": CoinSignaturesAnswer,
    "partial_expiration_date_response_signer1": DateSignaturesAnswer,
}
GLOBAL_VALUES = {"epoch_id", "expiration_date", "master_vk_bs58", "master_vk_bytes_hex"}
TICKET_ANSWERS = {
    "ok": None,
    "replayed": Rejection.REPLAYED,
    "double_spend": Rejection.DOUBLE_SPEND,
    "invalid_ticket": Rejection.INVALID,
    "multiple": Rejection.MULTIPLE,
    "invalid_spent_date": Rejection.INVALID_SPENT_DATE,
}
ENVELOPES = {
    "issued_ticketbooks_challenge_request": AuditRequest,
    "issued_ticketbooks_challenge_response": ChallengeAnswer,
    "issued_ticketbooks_data_request": AuditRequest,
    "issued_ticketbooks_data_response": DataAnswer,
    "issued_ticketbooks_for": IssuedFor,
    "issued_ticketbooks_for_empty": IssuedFor,
}
COUNTS = {"issued_ticketbooks_count", "issued_ticketbooks_for_count", "issued_ticketbooks_on_count"}
OTHER_SIGNED = {
    "api_identity_public_bs58",
    "api_identity_seed_hex",
    "issued_ticketbook",
    "merkle_leaf_hex",
    "merkle_leaf_preimage_hex",
    "merkle_root_hex",
    "signer_status",
    "signer_status_plaintext",
}


@pytest.fixture(scope="module")
def chain() -> dict[str, Any]:
    return load("chain")


def part(file: dict[str, Any], name: str) -> Any:
    """A member of the file, which a foreign set may lack."""
    if name not in file and is_foreign_set():
        pytest.skip(f"the folder named by VECTORS_DIR has no {name}")
    return file[name]


def check_forms(forms: dict[str, str], body: type[Body]) -> Body:
    """Reads and writes every form of one body; all of them have to say the same."""
    unknown = set(forms) - {"json", "bincode_hex"} - set(NOT_APPLICABLE)
    assert not unknown, f"nobody checks the forms {unknown}"
    read = body.decode(forms["json"].encode())
    assert read.encode().decode() == forms["json"]
    if "bincode_hex" in forms:
        raw = unhex(forms["bincode_hex"])
        assert body.decode(raw, Output.BINCODE) == read
        assert read.encode(Output.BINCODE) == raw
    return read


REFUSALS = {
    refusals.DKG_RUNNING: Verdict.LATER,
    refusals.NO_KEYS_YET: Verdict.LATER,
    refusals.DATE_TOO_LATE: Verdict.LATER,
    refusals.NOT_A_SIGNER: Verdict.OTHERS,
    refusals.SIGNATURE_WRONG: Verdict.FATAL,
}


class TestBlindSign:
    def test_request(self, chain):
        recorded = part(chain, "blind_sign")
        body = SignRequest.from_json(json.loads(recorded["request_body_json"]))
        assert compact(body.to_json()).decode() == recorded["request_body_json"]
        body.verify(b58decode(recorded["deposit_ed25519_public_bs58"]))

    def test_answers(self, chain):
        recorded = part(chain, "blind_sign")
        assert recorded["responses"]
        for answer in recorded["responses"]:
            read = check_forms(answer["response"], BlindSignAnswer)
            assert read.blinded.encode().hex() == answer["blinded_signature_bytes_hex"]


class TestGlobalData:
    def test_every_member_is_checked(self, chain):
        unknown = set(part(chain, "global_data")) - GLOBAL_VALUES - set(GLOBAL_BODIES)
        assert not unknown

    @pytest.mark.parametrize("name", sorted(GLOBAL_BODIES))
    def test_answers(self, chain, name):
        data = part(chain, "global_data")
        read = check_forms(part(data, name), GLOBAL_BODIES[name])
        master = VerificationKey.decode(unhex(data["master_vk_bytes_hex"]))
        own = None
        if name.endswith("_signer1"):
            own = next(s for s in part(chain, "blind_sign")["signers"] if s["index"] == 1)
            own = VerificationKey.decode(unhex(own["vk_bytes_hex"]))
        match read:
            case MasterKeyAnswer(key):
                assert key == master
            case CoinSignaturesAnswer(signatures):
                assert signatures.epoch_id == data["epoch_id"]
                signatures.verify(master, key=own)
            case DateSignaturesAnswer(signatures):
                assert signatures.epoch_id == data["epoch_id"]
                assert signatures.expiration == date.fromisoformat(data["expiration_date"])
                signatures.verify(own or master)
            case _:
                pytest.fail("a body that nobody checks")


class TestTickets:
    def test_every_answer_is_checked(self, chain):
        assert set(part(chain, "verify_ticket_responses")) <= set(TICKET_ANSWERS)

    @pytest.mark.parametrize("name", sorted(TICKET_ANSWERS))
    def test_answers(self, chain, name):
        forms = part(part(chain, "verify_ticket_responses"), name)
        assert check_forms(forms, VerifyTicketAnswer).rejection is TICKET_ANSWERS[name]

    def test_requests(self, chain):
        spends = part(chain, "spends")
        assert spends
        for spend in spends:
            read = VerifyTicketRequest.from_json(json.loads(spend["verify_ticket_body_json"]))
            assert compact(read.to_json()).decode() == spend["verify_ticket_body_json"]
            assert read.credential.encode().hex() == spend["credential_bytes_hex"]

    def test_redemption(self, chain):
        recorded = part(chain, "batch_redeem")
        assert set(recorded) <= {"digest_hex", "request_json", "response", "spent_filter_response"}
        request = BatchRedeemRequest.from_json(json.loads(recorded["request_json"]))
        assert compact(request.to_json()).decode() == recorded["request_json"]
        assert request.digest.hex() == recorded["digest_hex"]
        assert request.consistent
        check_forms(recorded["response"], BatchRedeemAnswer)
        check_forms(recorded["spent_filter_response"], SpentFilterAnswer)


class TestSignedResponses:
    def test_every_member_is_checked(self, chain):
        assert not set(part(chain, "signed_responses")) - set(ENVELOPES) - COUNTS - OTHER_SIGNED

    @pytest.mark.parametrize("name", sorted(ENVELOPES))
    def test_envelopes(self, chain, name):
        signed = part(chain, "signed_responses")
        raw = part(signed, name).encode()
        seed, key = unhex(signed["api_identity_seed_hex"]), b58decode(signed["api_identity_public_bs58"])
        read_body = ENVELOPES[name].from_json
        envelope = Envelope.decode(raw, read_body)
        body = envelope.body
        assert envelope.encode() == raw
        assert compact(body.to_json()) == envelope.plaintext
        with pytest.raises(EnvelopeSignatureInvalid):
            envelope.verify(bytes(32))
        if isinstance(body, AuditRequest):
            return  # signed by the auditor, whose key is not in the file
        assert envelope.verify(key) is body
        assert Envelope.sign(body, seed).encode() == raw, "signing is deterministic"
        if isinstance(body, ChallengeAnswer | DataAnswer):
            asked = "challenge" if isinstance(body, ChallengeAnswer) else "data"
            assert body.request.encode().decode() == signed[f"issued_ticketbooks_{asked}_request"]
        if isinstance(body, ChallengeAnswer):
            body.proof.verify()
            assert body.proof.root.hex() == signed["merkle_root_hex"]

    @pytest.mark.parametrize("name", sorted(COUNTS))
    def test_counts(self, chain, name):
        text = part(part(chain, "signed_responses"), name)
        assert compact(IssuedCounts.from_json(json.loads(text)).to_json()).decode() == text

    def test_issued_book(self, chain):
        signed = part(chain, "signed_responses")
        forms = signed["issued_ticketbook"]
        record = IssuedRecord.from_json(json.loads(forms["json"]))
        value = record.to_json()
        assert compact(value).decode() == forms["json"]
        bincode = (
            varint(record.deposit_id)
            + varint(record.epoch_id)
            + byte_string(value["blindedPartialCredential"])
            + byte_string(value["joinedEncodedPrivateAttributesCommitments"])
            + byte_string(value["expirationDate"])
            + varint(record.ticket_type)
        )
        assert bincode.hex() == forms["bincode_hex"]
        assert record.signable_plaintext().hex() == signed["merkle_leaf_preimage_hex"]
        assert record.leaf().hex() == signed["merkle_leaf_hex"]
        assert merkle_root([record.leaf()]).hex() == signed["merkle_root_hex"]

    def test_status(self, chain):
        signed = part(chain, "signed_responses")
        forms, key = signed["signer_status"], b58decode(signed["api_identity_public_bs58"])
        envelope = Envelope.decode(forms["json"].encode(), SignerStatus.from_json)
        assert envelope.plaintext.decode() == signed["signer_status_plaintext"]
        status = envelope.verify(key)
        assert envelope.encode().decode() == forms["json"]
        raw = unhex(forms["bincode_hex"])
        from_bincode = Envelope.from_bincode(raw, SignerStatus.read)
        assert from_bincode.verify(key) == status
        assert envelope.to_bincode(status.to_bincode()) == raw
        reader = WireReader(status.to_bincode())
        assert SignerStatus.read(reader) == status
        now = status.time_unix
        assert status.ill_because(status.epoch_id, now) == ""
        assert status.ill_because(status.epoch_id + 1, now)
        assert status.ill_because(status.epoch_id, now + 301)


class TestRecordedExchanges:
    """Upstream's tool, gateway and client against signers that answer as docs/protocol/09 §10 says."""

    @pytest.fixture
    def recorded(self) -> dict[str, Any]:
        return load("recorded-chain")

    @pytest.fixture
    def steps(self, recorded) -> list[dict[str, Any]]:
        found = [
            step
            for flow in part(recorded, "flows")
            for step in flow["steps"]
            if step["to"].startswith("signer ")
        ]
        assert found or is_foreign_set()
        return found

    def test_requests_and_answers(self, recorded, steps):
        state = recorded["state"]
        secrets = {s["index"]: SignerSecretKey.decode(unhex(s["secret_key_hex"])) for s in state["signers"]}
        keys = [(i, secret.verification_key()) for i, secret in secrets.items()]
        master = aggregate_verification_keys(keys)
        assert master.encode().hex() == state["master_verification_key_hex"]
        for step in steps:
            request, response = step["request"], step["response"]
            assert response["status"] == 200
            url, answer = urlsplit(request["path"]), compact(response["body"])
            query = dict(parse_qsl(url.query))
            assert set(query) <= {"epoch_id", "expiration_date"}
            epoch = epoch_parameter(query.get("epoch_id"))
            day = date_parameter(query.get("expiration_date"))
            route = next(route for route in Route if route.path == url.path)
            assert target(route, epoch_id=epoch, expiration=day) == request["path"]
            match route:
                case Route.MASTER_KEY:
                    read = MasterKeyAnswer.decode(answer)
                    assert read.key == master
                case Route.COINS:
                    read = CoinSignaturesAnswer.decode(answer)
                    assert read.signatures.epoch_id == epoch
                    read.signatures.verify(master)
                case Route.DATES:
                    read = DateSignaturesAnswer.decode(answer)
                    assert (read.signatures.epoch_id, read.signatures.expiration) == (epoch, day)
                    read.signatures.verify(master)
                case Route.BLIND_SIGN:
                    read = BlindSignAnswer.decode(answer)
                    ask = SignRequest.from_json(request["body"])
                    assert ask.to_json() == request["body"]
                    secret = secrets[int(step["to"].removeprefix("signer "))]
                    expiration = encode_date(ask.expiration)
                    assert read.blinded == blind_sign(
                        secret, ask.user, ask.request, expiration, ask.ticket_type
                    )
                case Route.VERIFY_TICKET:
                    read = VerifyTicketAnswer.decode(answer)
                    ask = VerifyTicketRequest.from_json(request["body"])
                    assert ask.to_json() == request["body"]
                    if read.rejection is Rejection.INVALID:
                        with pytest.raises(PaymentRejected):
                            ask.credential.verify(master)
                    else:
                        ask.credential.verify(master)
                case _:
                    pytest.fail(f"nobody checks {route}")
            assert compact(read.to_json()) == answer

    def test_refusal(self, recorded):
        refused = part(part(recorded, "error_answers"), "blind-sign refused")
        assert refused
        known = 0
        for step in refused:
            answer = step["response"]
            refusal = Refusal(answer["status"], answer["body"])
            if answer["body"] in REFUSALS:
                assert refusal.verdict is REFUSALS[answer["body"]]
                known += 1
            ask = SignRequest.from_json(step["request"]["body"])
            assert ask.to_json() == step["request"]["body"]
        assert known or is_foreign_set()

    async def test_the_client_says_and_hears_the_same(self, recorded, steps):
        """Our client in front of a server that knows nothing but the recording."""
        answers = {}
        for step in steps:
            request = step["request"]
            key = (request["method"], request["path"], compact(request["body"]))
            answers.setdefault(key, step["response"])
        missed = []

        async def handle(request: web.Request) -> web.Response:
            text = await request.text()
            body = compact(json.loads(text) if text else None)
            found = answers.get((request.method, request.path_qs, body))
            if found is None:
                missed.append(request.path_qs)
                raise web.HTTPNotFound
            return web.json_response(found["body"], status=found["status"])

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        state = recorded["state"]
        master = VerificationKey.decode(unhex(state["master_verification_key_hex"]))
        checked = 0
        async with serve(app) as url, SignerHttp() as http:
            signer = Signer(1, master, url)
            for method, path, body in answers:
                parts = urlsplit(path)
                query = dict(parse_qsl(parts.query))
                epoch = epoch_parameter(query.get("epoch_id")) or 0
                if parts.path == Route.MASTER_KEY.path:
                    assert await http.master_key(signer, epoch) == master
                elif parts.path == Route.COINS.path:
                    (await http.coin_signatures(signer, epoch)).verify(master)
                elif parts.path == Route.DATES.path:
                    day = date_parameter(query["expiration_date"])
                    assert day is not None
                    (await http.date_signatures(signer, epoch, day)).verify(master)
                elif parts.path == Route.BLIND_SIGN.path:
                    ask = SignRequest.from_json(json.loads(body))
                    recorded_answer = answers[method, path, body]["body"]
                    blinded = await http.blind_sign(signer, ask)
                    assert blinded.to_json() == recorded_answer["blinded_signature"]
                else:
                    continue
                checked += 1
        assert not missed
        assert checked or is_foreign_set()
