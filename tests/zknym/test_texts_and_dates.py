"""Base58, PEM, hex, JSON values and dates: the small codecs."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zknym import (
    InvalidArgument,
    MalformedData,
    MalformedJson,
    MalformedText,
    SpendDateTooEarly,
    SpendDateTooLate,
    TicketType,
    UnknownTicketType,
    b58decode,
    b58encode,
    decode_date,
    default_expiration,
    encode_date,
    is_expired,
    spend_dates,
)
from zknym import json_fields as json
from zknym.bincode import Reader, signed_varint, varint
from zknym.constants import MAX_U32, SECONDS_PER_DAY
from zknym.dates import (
    date_field,
    date_from_json,
    date_from_text,
    date_to_json,
    from_julian_day,
    julian_day,
    read_date,
    spend_date_index,
)
from zknym.pem import from_pem, to_pem

days = st.dates()
ecash_days = st.dates(date(1970, 1, 8), date(2106, 2, 7))


@given(st.binary(max_size=200))
def test_base58_round_trips(data):
    assert b58decode(b58encode(data)) == data


@pytest.mark.parametrize(
    ("data", "text"), [("", ""), ("00", "1"), ("0000ff", "115Q"), ("61", "2g"), ("516b6fcd0f", "ABnLTmg")]
)
def test_base58_examples(data, text):
    assert b58encode(bytes.fromhex(data)) == text
    assert b58decode(text).hex() == data


@pytest.mark.parametrize("text", ["0", "O", "I", "l", "2g ", "2g\n", "é", "2" * 70_000])
def test_base58_junk(text):
    with pytest.raises(MalformedText):
        b58decode(text)


def test_errors_do_not_repeat_the_text():
    with pytest.raises(MalformedText) as caught:
        b58decode("Secret0Secret")
    assert "Secret" not in str(caught.value)


@given(st.binary(max_size=300))
def test_pem_round_trips(data):
    text = to_pem("A KEY", data)
    assert from_pem("A KEY", text) == data
    assert from_pem("A KEY", text.replace("\r\n", "\n")) == data
    assert all(len(line) <= 64 for line in text.split("\r\n"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN B KEY-----\nAAAA\n-----END B KEY-----\n",
        "-----BEGIN A KEY-----\nAAAA\n",
        "-----BEGIN A KEY-----\nAAA\n-----END A KEY-----\n",
        "-----BEGIN A KEY-----\nAA_A\n-----END A KEY-----\n",
    ],
)
def test_pem_junk(text):
    with pytest.raises(MalformedText):
        from_pem("A KEY", text)


def test_json_values():
    assert json.member({"a": 1}, "a") == 1
    assert json.integer(5, 5) == 5
    assert json.text("x") == "x"
    assert json.array([1], 1) == [1]
    assert json.byte_array([0, 255], 2) == b"\0\xff"
    assert json.hex_bytes("00fF") == b"\0\xff"


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda v: json.member(v, "a"), {}),
        (lambda v: json.member(v, "a"), []),
        (lambda v: json.member(v, "a"), None),
        (json.integer, -1),
        (json.integer, 2**64),
        (json.integer, True),
        (json.integer, 1.0),
        (json.integer, "1"),
        (json.text, 1),
        (lambda v: json.array(v, 1), [1, 2]),
        (lambda v: json.array(v, 1), "a"),
        (lambda v: json.byte_array(v, 2), [1]),
        (lambda v: json.byte_array(v, 1), [256]),
        (json.hex_bytes, 1),
    ],
)
def test_json_values_of_the_wrong_shape(read, value):
    with pytest.raises(MalformedJson):
        read(value)


@pytest.mark.parametrize("value", ["0", "0g", "00 11", " 00", "²²", "", "00é"])
def test_hex_junk(value):
    with pytest.raises(MalformedText):
        json.hex_bytes(value)


def test_days_of_a_book():
    today = date(2026, 5, 25)
    expiration = default_expiration(today)
    assert expiration == date(2026, 5, 31)
    encoded = encode_date(expiration)
    assert spend_dates(encoded) == tuple(encode_date(today + timedelta(days=i)) for i in range(7))
    assert [spend_date_index(day, encoded) for day in spend_dates(encoded)] == list(range(7))
    assert spend_date_index(encoded + SECONDS_PER_DAY - 1, encoded) == 6
    with pytest.raises(SpendDateTooEarly):
        spend_date_index(encode_date(today) - 1, encoded)
    with pytest.raises(SpendDateTooLate):
        spend_date_index(encoded + SECONDS_PER_DAY, encoded)
    assert not is_expired(expiration, expiration)
    assert is_expired(expiration, expiration + timedelta(days=1))


@given(ecash_days)
def test_encoded_dates_round_trip(day):
    encoded = encode_date(day)
    assert encoded % SECONDS_PER_DAY == 0
    assert decode_date(encoded) == decode_date(encoded + SECONDS_PER_DAY - 1) == day


@pytest.mark.parametrize("day", [date(1969, 12, 31), date(2106, 2, 8), date.max, date.min])
def test_days_that_do_not_fit(day):
    with pytest.raises(InvalidArgument):
        encode_date(day)


@pytest.mark.parametrize("encoded", [0, 6 * SECONDS_PER_DAY - 1, MAX_U32 + 1])
def test_expiration_dates_that_do_not_fit(encoded):
    with pytest.raises(InvalidArgument):
        spend_dates(encoded)


@given(days)
def test_dates_round_trip(day):
    assert from_julian_day(julian_day(day)) == day
    assert date_from_json(date_to_json(day)) == date_from_json(day.isoformat()) == day
    assert date_from_text(day.isoformat()) == day
    reader = Reader(date_field(day))
    assert read_date(reader) == day
    reader.finish()


@pytest.mark.parametrize("number", [-(2**31), 2**31 - 1, julian_day(date.min) - 1, julian_day(date.max) + 1])
def test_julian_days_out_of_range(number):
    with pytest.raises(MalformedData):
        from_julian_day(number)


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-30",
        "20260531",
        "2026-W22-7",
        "2026-5-31",
        "",
        5,
        None,
        [2026],
        [2026, 0],
        [2026, 366],
        [2026, 1, 1],
        ["2026", 1],
        [0, 1],
        [10_000, 1],
        [-5, 1],
        [2026, -(10**12)],
        [True, 1],
    ],
)
def test_json_dates_that_are_none(value):
    with pytest.raises(MalformedData):
        date_from_json(value)


@pytest.mark.parametrize(
    "encoded",
    [
        signed_varint(2026) + varint(366),
        signed_varint(2026) + varint(367),
        signed_varint(2026) + varint(0),
        signed_varint(0) + varint(1),
        signed_varint(-1) + varint(1),
        signed_varint(10_000) + varint(1),
        signed_varint(2026),
    ],
)
def test_bincode_dates_that_are_none(encoded):
    with pytest.raises(MalformedData):
        read_date(Reader(encoded))


def test_ticket_types():
    assert [kind.bytes_per_ticket for kind in TicketType] == [
        200_000_000,
        100_000_000,
        500_000_000,
        500_000_000,
    ]
    for kind in TicketType:
        assert TicketType.from_label(kind.label) is TicketType.from_code(kind) is kind
    for code in (-1, 4, 255):
        with pytest.raises(UnknownTicketType):
            TicketType.from_code(code)
    for label in ("", "v1-mixnet", "V1-MIXNET-ENTRY"):
        with pytest.raises(UnknownTicketType):
            TicketType.from_label(label)
