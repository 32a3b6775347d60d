"""Known answers of the reference for compact e-cash: tests/vectors/ecash.json (docs/protocol/07 §16).

Here the scheme itself; what is stored and sent around it is in `test_vectors_ecash_stored`.
"""

from __future__ import annotations

import pytest

from tests.vector_files import is_foreign_set, unhex
from tests.zknym.vector_world import (
    FLOWS,
    VECTORS,
    Flow,
    Tape,
    assert_outcome,
    flows,
    listed,
    payments,
    top,
)
from zknym import (
    BlindedSignature,
    CoinIndexSignature,
    DoubleSpender,
    ExpirationDateSignature,
    MalformedPoint,
    MalformedScalar,
    NotADuplicate,
    PartialWallet,
    PayInfo,
    Payment,
    ReceivedPayment,
    RequestInfo,
    SamePayment,
    UserPublicKey,
    UserSecretKey,
    VerificationKey,
    Wallet,
    WalletSignatures,
    WithdrawalRequest,
    aggregate_coin_indices,
    aggregate_expiration_date,
    aggregate_verification_keys,
    aggregate_wallet,
    b58decode,
    b58encode,
    blind_sign,
    generate_signers,
    identify,
    lagrange_at_origin,
    request_withdrawal,
    sign_coin_indices,
    sign_expiration_date,
    spend,
    spend_from_wallet,
    unblind,
    verify_blinded_signature,
    verify_coin_indices,
    verify_expiration_date,
    verify_payment,
    verify_payments,
)
from zknym.constants import TYPE_COIN_INDEX, TYPE_EXPIRATION
from zknym.curve import (
    decode_g1,
    decode_g2,
    decode_scalar,
    encode_g1,
    encode_g2,
    encode_scalar,
)
from zknym.generators import BASE_G1, BASE_G2, DELTA, GAMMA
from zknym.hashing import challenge, hash_to_g1, hash_to_scalar

pytestmark = pytest.mark.vectors

TOP_LEVEL = {
    "seed",
    "decode_cases",
    "group",
    "hash_g1",
    "hash_to_scalar",
    "challenge",
    "pay_info_hash",
    "stored_forms",
}
IN_A_FLOW = {
    "aggregated_verification_key",
    "aggregated_verification_key_bs58",
    "aggregated_verification_key_serde_json",
    "aggregation_indices",
    "blinded_signatures",
    "coin_index_signatures",
    "expiration_date",
    "expiration_date_signatures",
    "identify",
    "issuance_cases",
    "keygen_tape",
    "keys",
    "lagrange_at_origin",
    "partial_wallets",
    "same_key_from_other_sets",
    "signers",
    "spend_errors",
    "t_type",
    "threshold",
    "total_coins",
    "user",
    "verify_cases",
    "verify_partial_blind_signature_signer_1",
    "wallet",
    "withdrawal",
    "withdrawal_cases",
    "y_count",
}
CODECS = {
    "g1": (decode_g1, encode_g1, MalformedPoint),
    "g2": (decode_g2, encode_g2, MalformedPoint),
    "scalar": (decode_scalar, encode_scalar, MalformedScalar),
}


def test_every_kind_is_checked():
    assert VECTORS.keys() - TOP_LEVEL - FLOWS.keys() == set()
    assert VECTORS.get("decode_cases", {}).keys() - CODECS.keys() == set()
    assert VECTORS.get("group", {}).keys() - {"delta", "g1", "g2", "gamma", "type_exp", "type_idx"} == set()
    assert FLOWS or is_foreign_set()


@pytest.mark.parametrize("flow", flows())
def test_every_kind_in_a_run_is_checked(flow: Flow):
    assert flow.raw.keys() - IN_A_FLOW - set(flow.payment_names) == set()
    assert flow.payment_names


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        pytest.param(kind, case, id=f"{kind}-{case['what']}")
        for kind, entries in VECTORS.get("decode_cases", {}).items()
        for case in entries
    ],
)
def test_decoding(kind, case):
    decode, encode, error = CODECS[kind]
    data = unhex(case["bytes"])
    if case["ok"]:
        assert encode(decode(data)) == data
    else:
        with pytest.raises(error):
            decode(data)


@pytest.mark.skipif("group" not in VECTORS, reason="the set has no group")
def test_generators():
    group = VECTORS["group"]
    assert encode_g1(BASE_G1.point).hex() == group["g1"]
    assert encode_g2(BASE_G2.point).hex() == group["g2"]
    assert [encode_g1(gamma.point).hex() for gamma in GAMMA] == group["gamma"]
    assert encode_g1(DELTA.point).hex() == group["delta"]
    assert encode_scalar(TYPE_EXPIRATION).hex() == group["type_exp"]
    assert encode_scalar(TYPE_COIN_INDEX).hex() == group["type_idx"]


@pytest.mark.parametrize("vector", top("hash_g1"))
def test_hash_to_g1(vector):
    assert encode_g1(hash_to_g1(unhex(vector["msg"]))).hex() == vector["out"]


@pytest.mark.parametrize("vector", top("hash_to_scalar"))
def test_hash_to_scalar(vector):
    assert encode_scalar(hash_to_scalar(unhex(vector["msg"]))).hex() == vector["out"]


@pytest.mark.parametrize("vector", top("challenge"))
def test_challenge(vector):
    assert encode_scalar(challenge(map(unhex, vector["chunks"]))).hex() == vector["out"]


@pytest.mark.parametrize("vector", top("pay_info_hash"))
def test_pay_info_hash(vector):
    assert encode_scalar(PayInfo.decode(unhex(vector["pay_info"])).factor(vector["k"])).hex() == vector["out"]


@pytest.mark.parametrize("flow", flows())
def test_key_generation(flow: Flow):
    tape = Tape(flow.raw["keygen_tape"])
    made = generate_signers(
        flow.raw["threshold"], flow.raw["signers"], y_values=flow.raw["y_count"], draw=tape
    )
    assert tape.used_up
    assert [signer.index for signer in made] == [key["index"] for key in flow.raw["keys"]]
    for signer, key in zip(made, flow.raw["keys"], strict=True):
        assert key.keys() == {"index", "secret_key", "verification_key", "verification_key_bs58"}
        assert signer.secret.encode().hex() == key["secret_key"]
        assert signer.verification.encode().hex() == key["verification_key"]
        assert signer.verification.to_base58() == key["verification_key_bs58"]
        assert VerificationKey.from_base58(key["verification_key_bs58"]) == signer.verification
        assert flow.secrets[signer.index] == signer.secret
        assert flow.keys[signer.index] == signer.verification


@pytest.mark.parametrize("flow", flows())
def test_master_key(flow: Flow):
    master = aggregate_verification_keys([(i, flow.keys[i]) for i in flow.raw["aggregation_indices"]])
    assert master.encode().hex() == flow.raw["aggregated_verification_key"]
    assert master == flow.master
    assert master.to_base58() == flow.raw["aggregated_verification_key_bs58"]
    json_form = flow.raw["aggregated_verification_key_serde_json"]
    assert master.to_json() == json_form
    assert VerificationKey.from_json(json_form) == master
    if "lagrange_at_origin" in flow.raw:
        factors = lagrange_at_origin(flow.raw["aggregation_indices"])
        assert [encode_scalar(factor).hex() for factor in factors] == flow.raw["lagrange_at_origin"]


@pytest.mark.parametrize("entry", listed("same_key_from_other_sets"))
def test_master_key_of_other_signers(entry):
    flow, case = entry
    factors = lagrange_at_origin(case["indices"])
    assert [encode_scalar(factor).hex() for factor in factors] == case["lagrange"]
    master = aggregate_verification_keys([(i, flow.keys[i]) for i in case["indices"]])
    assert (master == flow.master) is case["equal"]


@pytest.mark.parametrize("flow", flows())
def test_coin_index_signatures(flow: Flow):
    recorded = flow.raw["coin_index_signatures"]
    assert recorded.keys() == {"partial", "aggregated", "first_serde_json"}
    shares = {i: sign_coin_indices(key, flow.master, tickets=flow.tickets) for i, key in flow.secrets.items()}
    assert recorded["partial"]
    for i, partial in zip(shares, recorded["partial"], strict=False):
        assert shares[i] == flow.coins(partial)
        verify_coin_indices(flow.coins(partial), flow.master, key=flow.keys[i], tickets=flow.tickets)
    chosen = [(i, flow.keys[i], shares[i]) for i in flow.raw["aggregation_indices"]]
    aggregated = aggregate_coin_indices(chosen, flow.master, tickets=flow.tickets)
    assert [item.signature.encode().hex() for item in aggregated] == recorded["aggregated"]
    verify_coin_indices(flow.coin_set, flow.master, tickets=flow.tickets)
    assert aggregated[0].to_json() == recorded["first_serde_json"]
    assert CoinIndexSignature.from_json(recorded["first_serde_json"]) == aggregated[0]


@pytest.mark.parametrize("flow", flows())
def test_date_signatures(flow: Flow):
    recorded = flow.raw["expiration_date_signatures"]
    assert recorded.keys() == {"partial", "aggregated", "first_serde_json"}
    shares = {i: sign_expiration_date(key, flow.expiration) for i, key in flow.secrets.items()}
    assert recorded["partial"]
    for i, partial in zip(shares, recorded["partial"], strict=False):
        assert shares[i] == flow.dates(partial)
        verify_expiration_date(flow.dates(partial), flow.expiration, flow.keys[i])
    chosen = [(i, flow.keys[i], shares[i]) for i in flow.raw["aggregation_indices"]]
    aggregated = aggregate_expiration_date(chosen, flow.expiration, flow.master)
    assert aggregated == flow.date_set
    assert [item.signature.encode().hex() for item in aggregated] == [
        item["signature"] for item in recorded["aggregated"]
    ]
    verify_expiration_date(flow.date_set, flow.expiration, flow.master)
    assert aggregated[0].to_json() == recorded["first_serde_json"]
    assert ExpirationDateSignature.from_json(recorded["first_serde_json"]) == aggregated[0]


@pytest.mark.parametrize("flow", flows())
def test_user_keys(flow: Flow):
    recorded = flow.raw["user"]
    known = {"identifier_utf8", "keypair", "secret_key", "public_key", "public_key_bs58"}
    assert recorded.keys() - known == {"public_key_serde_json"}
    user = UserSecretKey.from_seed(recorded["identifier_utf8"].encode())
    assert user == flow.user
    assert user.encode().hex() == recorded["secret_key"]
    assert user.encode_pair().hex() == recorded["keypair"]
    assert UserSecretKey.decode_pair(unhex(recorded["keypair"])) == user
    public = user.public_key()
    assert public == flow.user_public
    assert public.encode().hex() == recorded["public_key"]
    assert public.to_base58() == recorded["public_key_bs58"]
    assert UserPublicKey.from_base58(recorded["public_key_bs58"]) == public
    assert public.to_json() == recorded["public_key_serde_json"]
    assert UserPublicKey.from_json(recorded["public_key_serde_json"]) == public


@pytest.mark.parametrize("flow", flows())
def test_withdrawal_request(flow: Flow):
    recorded = flow.raw["withdrawal"]
    assert recorded.keys() == {
        "request",
        "request_bs58",
        "request_info",
        "request_info_len",
        "request_info_serde_json",
        "request_len",
        "request_serde_json",
        "tape",
        "verify",
    }
    tape = Tape(recorded["tape"])
    request, info = request_withdrawal(flow.user, flow.expiration, flow.ticket_type, draw=tape)
    assert tape.used_up
    assert request.encode().hex() == recorded["request"]
    assert len(request.encode()) == recorded["request_len"]
    assert WithdrawalRequest.decode(unhex(recorded["request"])) == request
    assert request.to_base58() == recorded["request_bs58"]
    assert WithdrawalRequest.from_base58(recorded["request_bs58"]) == request
    assert request.to_json() == recorded["request_serde_json"]
    assert WithdrawalRequest.from_json(recorded["request_serde_json"]) == request
    assert info.encode().hex() == recorded["request_info"]
    assert len(info.encode()) == recorded["request_info_len"]
    assert RequestInfo.decode(unhex(recorded["request_info"])) == info
    assert info.to_json() == recorded["request_info_serde_json"]
    assert RequestInfo.from_json(recorded["request_info_serde_json"]) == info
    assert_outcome(
        recorded["verify"], lambda: request.verify(flow.user_public, flow.expiration, flow.ticket_type)
    )


@pytest.mark.parametrize("entry", listed("withdrawal_cases"))
def test_request_cases(entry):
    _, case = entry

    def check():
        request = WithdrawalRequest.decode(unhex(case["request"]))
        user = UserPublicKey.decode(unhex(case["user_public_key"]))
        request.verify(user, case["expiration_date"], case["t_type"])

    assert_outcome(case["out"], check, may_reject=case.get("may_reject", False))


@pytest.mark.parametrize("flow", flows())
def test_issuance(flow: Flow):
    request = WithdrawalRequest.decode(unhex(flow.raw["withdrawal"]["request"]))
    info = RequestInfo.decode(unhex(flow.raw["withdrawal"]["request_info"]))
    assert len(flow.raw["blinded_signatures"]) == len(flow.raw["partial_wallets"]) == flow.raw["signers"]
    for recorded, encoded_share in zip(
        flow.raw["blinded_signatures"], flow.raw["partial_wallets"], strict=True
    ):
        assert recorded.keys() == {"blinded_signature", "bs58", "index", "serde_json"}
        index = recorded["index"]
        blinded = blind_sign(
            flow.secrets[index], flow.user_public, request, flow.expiration, flow.ticket_type
        )
        assert blinded.encode().hex() == recorded["blinded_signature"]
        assert BlindedSignature.decode(unhex(recorded["blinded_signature"])) == blinded
        assert blinded.to_base58() == recorded["bs58"]
        assert BlindedSignature.from_base58(recorded["bs58"]) == blinded
        assert blinded.to_json() == recorded["serde_json"]
        assert BlindedSignature.from_json(recorded["serde_json"]) == blinded
        share = unblind(blinded, info, flow.user, flow.keys[index], index)
        assert share.encode().hex() == encoded_share
        assert PartialWallet.decode(unhex(encoded_share)) == share
        verify_blinded_signature(
            blinded, request.attribute_commitments, flow.expiration, flow.ticket_type, flow.keys[index]
        )
    if "verify_partial_blind_signature_signer_1" in flow.raw:
        assert flow.raw["verify_partial_blind_signature_signer_1"] is True


@pytest.mark.parametrize("entry", listed("issuance_cases"))
def test_issuance_cases(entry):
    flow, case = entry
    assert case.keys() == {"what", "out"}
    info = RequestInfo.decode(unhex(flow.raw["withdrawal"]["request_info"]))
    blinded = {
        item["index"]: BlindedSignature.decode(unhex(item["blinded_signature"]))
        for item in flow.raw["blinded_signatures"]
    }
    shares = list(flow.shares.values())
    stranger = UserSecretKey.from_seed(b"somebody else")
    calls = {
        "signature of signer 1 checked with key of signer 2": lambda: unblind(
            blinded[1], info, flow.user, flow.keys[2], 1
        ),
        "another user's secret key": lambda: unblind(blinded[1], info, stranger, flow.keys[1], 1),
        "threshold - 1 shares": lambda: aggregate_wallet(
            shares[: flow.raw["threshold"] - 1], flow.user, flow.master
        ),
        "all shares": lambda: aggregate_wallet(shares, flow.user, flow.master),
        "duplicate share": lambda: aggregate_wallet([shares[0], *shares], flow.user, flow.master),
        "no share": lambda: aggregate_wallet([], flow.user, flow.master),
    }
    assert case["what"] in calls, "a case that nobody checks"
    assert_outcome(case["out"], calls[case["what"]])


@pytest.mark.parametrize("flow", flows())
def test_wallet(flow: Flow):
    recorded = flow.raw["wallet"]
    chosen = [flow.shares[i] for i in flow.raw["aggregation_indices"]]
    signatures = aggregate_wallet(chosen, flow.user, flow.master)
    assert signatures.encode().hex() == recorded["wallet_signatures"]
    assert WalletSignatures.from_json(signatures.to_json()) == signatures == flow.wallet
    wallet = Wallet(signatures)
    assert wallet.encode().hex() == recorded["wallet"]
    after = {name: text for name, text in recorded.items() if name not in ("wallet", "wallet_signatures")}
    assert after
    for name, encoded in after.items():
        number = name.removeprefix("after_payment_")
        paid = [
            key
            for key in flow.payment_names
            if key == f"payment_{number}" or key.startswith(f"payment_{number}_")
        ]
        assert len(paid) == 1, f"no payment belongs to {name}"
        payment = flow.raw[paid[0]]
        spent = payment["tickets_spent_before"] + payment["spend_value"]
        assert Wallet(signatures, spent).encode().hex() == encoded
        assert Wallet.decode(unhex(encoded)) == Wallet(signatures, spent)


@pytest.mark.parametrize("entry", payments())
def test_payment(entry):
    flow, name = entry
    recorded = flow.raw[name]
    assert recorded.keys() == {
        "encoded_serial_number",
        "pay_info",
        "payment",
        "payment_len",
        "rr",
        "serde_json",
        "serial_number_bs58",
        "spend_date",
        "spend_value",
        "t_type",
        "tape",
        "tickets_spent_before",
        "verify",
    }
    payment, pay_info = flow.payment(name)
    tape = Tape(recorded["tape"])
    made, wallet = spend_from_wallet(
        Wallet(flow.wallet, recorded["tickets_spent_before"]),
        flow.user,
        flow.master,
        pay_info,
        spend_date=recorded["spend_date"],
        date_signatures=flow.date_set,
        coin_signatures=flow.coin_set,
        tickets=recorded["spend_value"],
        tickets_per_book=flow.tickets,
        draw=tape,
    )
    assert tape.used_up
    assert made.encode().hex() == recorded["payment"]
    assert made == payment
    assert wallet.tickets_spent == recorded["tickets_spent_before"] + recorded["spend_value"]
    assert len(made.encode()) == recorded["payment_len"]
    assert pay_info.encode().hex() == recorded["pay_info"]
    factors = [pay_info.factor(k) for k in range(recorded["spend_value"])]
    assert [encode_scalar(factor).hex() for factor in factors] == recorded["rr"]
    assert made.to_json() == recorded["serde_json"]
    assert Payment.from_json(recorded["serde_json"]) == payment
    assert made.encoded_serial_number().hex() == recorded["encoded_serial_number"]
    assert made.serial_number_base58() == recorded["serial_number_bs58"]
    assert b58decode(recorded["serial_number_bs58"]).hex() == recorded["encoded_serial_number"]
    assert b58encode(unhex(recorded["encoded_serial_number"])) == recorded["serial_number_bs58"]
    assert (made.ticket_type, made.spend_value) == (recorded["t_type"], recorded["spend_value"])
    assert_outcome(
        recorded["verify"], lambda: verify_payment(payment, pay_info, recorded["spend_date"], flow.master)
    )


@pytest.mark.parametrize("flow", flows())
def test_payments_in_a_batch(flow: Flow):
    received = [
        ReceivedPayment(*flow.payment(name), flow.raw[name]["spend_date"]) for name in flow.payment_names
    ]
    verdicts = verify_payments(received, flow.master)
    for name, verdict in zip(flow.payment_names, verdicts, strict=True):
        expected = flow.raw[name]["verify"]
        assert (verdict is None) is (expected == "ok")


@pytest.mark.parametrize("entry", listed("verify_cases"))
def test_verification_cases(entry):
    _, case = entry
    payment = Payment.decode(unhex(case["payment"]))
    pay_info = PayInfo.decode(unhex(case["pay_info"]))
    key = VerificationKey.decode(unhex(case["verification_key"]))
    assert_outcome(
        case["verify"],
        lambda: verify_payment(payment, pay_info, case["spend_date"], key),
        may_reject=case.get("may_reject", False),
    )


@pytest.mark.parametrize("entry", listed("spend_errors"))
def test_spend_cases(entry):
    flow, case = entry
    pay_info = PayInfo(bytes(32), 0, bytes(32))

    def pay():
        payment = spend(
            flow.wallet,
            flow.user,
            flow.master,
            pay_info,
            spent=case["tickets_spent"],
            spend_date=case["spend_date"],
            date_signatures=flow.date_set[: case["n_expiration_signatures"]],
            coin_signatures=flow.coin_set[: case["n_coin_signatures"]],
            tickets=case["spend_value"],
            tickets_per_book=flow.tickets,
        )
        verify_payment(payment, pay_info, case["spend_date"], flow.master)

    assert_outcome(case["out"], pay)


@pytest.mark.parametrize("entry", listed("identify"))
def test_identification(entry):
    flow, case = entry
    found = identify(*flow.payment(case["a"]), *flow.payment(case["b"]))
    results = {
        "DoubleSpendingPublicKeys": lambda out: DoubleSpender(UserPublicKey.decode(unhex(out["public_key"]))),
        "DuplicatePayInfo": lambda out: SamePayment(PayInfo.decode(unhex(out["pay_info"]))),
        "NotADuplicatePayment": lambda _: NotADuplicate(),
    }
    assert case["out"]["result"] in results, "a result that nobody checks"
    assert found == results[case["out"]["result"]](case["out"])
