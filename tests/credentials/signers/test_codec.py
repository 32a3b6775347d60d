"""Bodies and envelopes: both forms, cut short, altered (docs/protocol/09 §1.1, §5)."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.signers.audits import AuditRequest, IssuedCount, IssuedCounts, IssuedFor
from nym_credentials.signers.envelope import Envelope, EnvelopeSignatureInvalid
from nym_credentials.signers.epoch import Signer, SignerSet
from nym_credentials.signers.issuance import (
    BlindSignAnswer,
    CoinSignaturesAnswer,
    DateSignaturesAnswer,
    MasterKeyAnswer,
)
from nym_credentials.signers.status import SignerStatus
from nym_credentials.signers.tickets import (
    BatchRedeemAnswer,
    Rejection,
    SpentDates,
    SpentFilterAnswer,
    VerifyTicketAnswer,
)
from nym_credentials.signers.wire import Output, WireReader, byte_string, parse_json, varint
from tests.credentials.signers.mini_signers import epoch_keys
from tests.zknym.ecash_world import World
from zknym import CoinSignatureSet, DateSignatureSet, MalformedData, MalformedJson

DAY = date(2026, 5, 22)
KEYS = epoch_keys(70_000)
"""An epoch whose number takes more than one byte: there the byte order shows."""
BODIES = [
    BlindSignAnswer(next(iter(World().blinded.values()))),
    MasterKeyAnswer(KEYS.master),
    CoinSignaturesAnswer(CoinSignatureSet(70_000, KEYS.partial_coins(1).signatures)),
    DateSignaturesAnswer(DateSignatureSet(2**40, DAY, KEYS.partial_dates(1, DAY).signatures)),
    VerifyTicketAnswer(),
    *(VerifyTicketAnswer(r) for r in Rejection if r is not Rejection.INVALID_SPENT_DATE),
    VerifyTicketAnswer(Rejection.INVALID_SPENT_DATE, SpentDates(DAY, DAY, DAY)),
    BatchRedeemAnswer(True),
    BatchRedeemAnswer(False),
    SpentFilterAnswer(b"\1\2\3\xff"),
    SignerStatus("2026-05-17T06:42:03.456789Z", 70_000, False, True, True),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
@pytest.mark.parametrize("output", Output)
def test_round_trip_and_cut_short(body, output):
    raw = body.encode(output)
    assert type(body).decode(raw, output) == body
    step = max(1, len(raw) // 50)
    for length in range(0, len(raw), step):
        with pytest.raises(MalformedData):
            type(body).decode(raw[:length], output)
    with pytest.raises(MalformedData):
        type(body).decode(raw + b"x", output)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
@given(noise=st.binary(max_size=200))
def test_noise(body, noise):
    for output in Output:
        try:
            type(body).decode(noise, output)
        except MalformedData:
            continue


@given(st.integers(0, 2**64 - 1))
def test_integers(value):
    raw = varint(value)
    reader = WireReader(raw)
    assert reader.varint() == value
    reader.finish()
    if value > 2**32 - 1:
        assert raw == b"\xfd" + value.to_bytes(8, "little")


@pytest.mark.parametrize("raw", ["fbfa00", "fc00000100", "fd0000000000000000", "fe00", "ff"])
def test_integers_not_in_their_shortest_form(raw):
    if raw == "fc00000100":
        assert WireReader(bytes.fromhex(raw)).varint() == 65_536
        return
    with pytest.raises(MalformedData):
        WireReader(bytes.fromhex(raw)).varint()


@pytest.mark.parametrize("raw", [b"NaN", b"[1,", b"\xff", b"[" * 100_000, b""])
def test_not_json(raw):
    with pytest.raises(MalformedJson):
        parse_json(raw)


@pytest.mark.parametrize(
    "value",
    [
        {"verified": {"Ok": 1}},
        {"verified": {"Err": "Bored"}},
        {"verified": {"Err": "InvalidSpentDate"}},
        {"verified": {"Ok": None, "Err": "DoubleSpend"}},
        {"verified": []},
        {},
        [],
    ],
)
def test_answers_about_tickets_that_say_nothing(value):
    with pytest.raises(MalformedData):
        VerifyTicketAnswer.from_json(value)


class TestEnvelope:
    SEED = bytes([8]) * 32

    def sealed(self):
        return Envelope.sign(AuditRequest(DAY, (1, 2)), self.SEED)

    def key(self):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.SEED).public_key().public_bytes_raw()

    def test_the_bytes_count_not_the_values(self):
        """Other white space is another text, even if it means the same."""
        raw = self.sealed().encode()
        Envelope.decode(raw, AuditRequest.from_json).verify(self.key())
        spaced = raw.replace(b'"deposits":[1,2]', b'"deposits":[1, 2]')
        envelope = Envelope.decode(spaced, AuditRequest.from_json)
        assert envelope.body == self.sealed().body
        assert envelope.plaintext.endswith(b"[1, 2]}")
        with pytest.raises(EnvelopeSignatureInvalid):
            envelope.verify(self.key())

    def test_the_body_is_found_wherever_it_stands(self):
        signed = self.sealed()
        signature = signed.encode().rpartition(b'"signature"')[2]
        for raw in (
            b' { "signature"'
            + signature[:-1]
            + b' , "x" : {"body":1} , "body" : '
            + signed.plaintext
            + b" }",
            b'\n{"body"\t:\r' + signed.plaintext + b',"signature"' + signature,
        ):
            envelope = Envelope.decode(raw, AuditRequest.from_json)
            assert envelope.verify(self.key()) == signed.body

    def test_signed_text_of_another_writer_is_kept(self):
        """Somebody signs members in another order: verified as it is, and passed on as it is."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        from zknym import b58encode

        text = b'{ "deposits" : [1,2], "expirationDate":"2026-05-22" }'
        signature = Ed25519PrivateKey.from_private_bytes(self.SEED).sign(text)
        raw = b'{"body":' + text + b',"signature":"' + b58encode(signature).encode() + b'"}'
        envelope = Envelope.decode(raw, AuditRequest.from_json)
        assert envelope.verify(self.key()) == AuditRequest(DAY, (1, 2))
        assert envelope.encode() == raw

    @pytest.mark.parametrize(
        "raw",
        [
            b"[]",
            b'{"body":{}}',
            b'{"body":{"expirationDate":"2026-05-22","deposits":[]},"signature":"11"}',
            b'{"body":{"expirationDate":"x","deposits":[]},"signature":"%s"}' % (b"1" * 64),
        ],
    )
    def test_no_envelope(self, raw):
        with pytest.raises(MalformedData):
            Envelope.decode(raw, AuditRequest.from_json)

    def test_two_bodies(self):
        raw = self.sealed().encode()
        with pytest.raises(MalformedData, match="one member"):
            Envelope.decode(b'{"body":0,' + raw[1:], AuditRequest.from_json)

    def test_cut_short(self):
        raw = self.sealed().encode()
        for length in range(len(raw)):
            with pytest.raises(MalformedData):
                Envelope.decode(raw[:length], AuditRequest.from_json)

    def test_bincode(self):
        status = BODIES[-1]
        envelope = Envelope.sign(status, self.SEED)
        raw = envelope.to_bincode(status.to_bincode())
        assert Envelope.from_bincode(raw, SignerStatus.read).verify(self.key()) == status
        with pytest.raises(MalformedData):
            Envelope.from_bincode(status.to_bincode() + byte_string("11"), SignerStatus.read)


class TestStatus:
    def test_of_now(self):
        status = SignerStatus.now(1_780_000_000.25, 5)
        assert status.current_time.endswith("Z")
        assert status.time_unix == 1_780_000_000.25

    @pytest.mark.parametrize("text", ["yesterday", "2026-05-17T06:42:03", ""])
    def test_no_time(self, text):
        with pytest.raises(MalformedData):
            _ = SignerStatus(text, 5, False, True, True).time_unix

    def test_nanoseconds_and_offsets(self):
        assert SignerStatus("2026-05-17T06:42:03.123456789Z", 5, False, True, True).time_unix
        a = SignerStatus("2026-05-17T08:42:03+02:00", 5, False, True, True).time_unix
        assert a == SignerStatus("2026-05-17T06:42:03Z", 5, False, True, True).time_unix


def test_counts_of_both_kinds():
    whole = IssuedCounts((IssuedCount(4, DAY, DAY),))
    one = IssuedCounts((IssuedCount(4, issuance=DAY),), total=4, expiration=DAY)
    for counts in (whole, one):
        assert IssuedCounts.from_json(counts.to_json()) == counts
    for value in ([], {"issued": 1}, {"issued": [[]]}):
        with pytest.raises(MalformedData):
            IssuedCounts.from_json(value)
    with pytest.raises(MalformedData, match="32 bytes"):
        IssuedFor.from_json({"expirationDate": "2026-05-22", "deposits": [], "merkleRoot": "00"})


@pytest.mark.parametrize(
    "url, reachable",
    [
        ("http://127.0.0.1:1/", True),
        ("https://signer.example", True),
        ("ftp://signer.example", False),
        ("http://", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_addresses(url, reachable):
    assert Signer(1, KEYS.master, url).reachable is reachable


def test_shares_of_the_chain():
    rows = [(s.index, s.verification.encode(), f"http://s{s.index}/", "n1", True, None) for s in KEYS.signers]
    found = SignerSet.of_shares(5, 2, [*rows, rows[0]])
    assert [signer.index for signer in found.signers] == [1, 2, 3]
    assert found.master_key() == KEYS.master
    moved = Signer(9, KEYS.master, "http://elsewhere", "n1")
    assert found.same_as(Signer(9, KEYS.master, "http://s2")).index == 2
    assert found.same_as(moved).index == 1
    assert found.same_as(Signer(9, KEYS.master, "http://elsewhere")) is None
    assert found.by_index(9) is None


def test_shares_of_two_keys():
    from nym_credentials.errors import EpochKeysInconsistent

    other = epoch_keys(99).signers[2]
    rows = [
        (s.index, s.verification.encode(), f"http://s{s.index}/", "n1", True, None)
        for s in (*KEYS.signers[:2], other)
    ]
    with pytest.raises(EpochKeysInconsistent, match="do not belong to one key"):
        SignerSet.of_shares(5, 2, rows).master_key()
