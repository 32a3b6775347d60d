"""Amounts as people and as the chain write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.errors import InvalidAmount
from nym_credentials.money import MAX_AMOUNT, Coin, format_coin, format_nym, parse_nym


@pytest.mark.parametrize(
    "text, unym",
    [
        ("150 NYM", 150_000_000),
        ("150", 150_000_000),
        ("0.5", 500_000),
        ("0.000001 nym", 1),
        ("1.50", 1_500_000),
        ("75000000unym", 75_000_000),
        (" 75 NYM ", 75_000_000),
        ("75NYM", 75_000_000),
    ],
)
def test_amounts_are_read(text: str, unym: int) -> None:
    assert parse_nym(text) == unym


@pytest.mark.parametrize(
    "text",
    ["", "NYM", "-1", "1,5", "1.", ".5", "0.0000001", "1e6", "75 unyx", "１２", "9" * 40 + "unym", "9" * 33],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidAmount):
        parse_nym(text)


@given(st.integers(0, 10**20))
def test_writing_and_reading_are_inverse(unym: int) -> None:
    assert parse_nym(format_nym(unym)) == unym
    assert format_coin(Coin("unym", unym)) == format_nym(unym)


def test_how_amounts_look() -> None:
    assert [format_nym(n) for n in (75_000_000, 3_938, 0, -500_000)] == [
        "75 NYM",
        "0.003938 NYM",
        "0 NYM",
        "-0.5 NYM",
    ]
    assert format_coin(Coin("factory/x", 7)) == "7factory/x"
    assert str(Coin("unym", 75_000_000)) == "75000000unym"


@given(st.integers(0, MAX_AMOUNT))
def test_coins_are_read_back(amount: int) -> None:
    assert Coin.parse(str(Coin("unym", amount))) == Coin("unym", amount)


@pytest.mark.parametrize("text", ["", "unym", "5", "5 unym", "-5unym", "5u"])
def test_other_coins_are_refused(text: str) -> None:
    with pytest.raises(InvalidAmount):
        Coin.parse(text)


@pytest.mark.parametrize("amount", [-1, 2**128, 1.5, True])
def test_amounts_are_whole_and_bounded(amount: object) -> None:
    with pytest.raises(InvalidAmount):
        Coin("unym", amount)  # type: ignore[arg-type]
    with pytest.raises(InvalidAmount):
        Coin("", 1)
