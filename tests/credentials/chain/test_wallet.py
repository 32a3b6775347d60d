"""Phrases, keys and signatures."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nym_credentials.chain.wallet import Wallet, checked_words, phrase_of, verify_signature
from nym_credentials.errors import PhraseInvalid

PHRASE = "abandon " * 11 + "about"
ADDRESS = "n19rl4cm2hmr8afy4kldpxz3fka4jguq0awy6lqs"


@given(st.sampled_from([16, 20, 24, 28, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
@settings(max_examples=50)
def test_phrases_of_every_length_are_accepted(entropy: bytes) -> None:
    phrase = phrase_of(entropy)
    assert " ".join(checked_words(phrase)) == phrase


@pytest.mark.parametrize("phrase", [PHRASE.upper(), f"  {PHRASE}\n", PHRASE.replace(" ", "\t ")])
def test_spaces_and_case_do_not_matter(phrase: str) -> None:
    assert Wallet.from_phrase(phrase).address == ADDRESS


@pytest.mark.parametrize("count", [0, 1, 11, 13, 25])
def test_the_number_of_words_is_checked(count: int) -> None:
    with pytest.raises(PhraseInvalid, match=f"this one has {count}"):
        Wallet.from_phrase("abandon " * count)


def test_the_check_sum_is_checked() -> None:
    with pytest.raises(PhraseInvalid, match="check sum"):
        Wallet.from_phrase("abandon " * 12)


def test_an_unknown_word_is_named_by_its_place_only() -> None:
    with pytest.raises(PhraseInvalid) as caught:
        Wallet.from_phrase(PHRASE.replace("about", "sesamestreet"))
    assert caught.value.position == 12
    assert "12" in str(caught.value)
    for secret in ("sesame", "abandon"):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)


def test_nothing_shows_the_key() -> None:
    wallet = Wallet.from_phrase(PHRASE)
    key = wallet.cosmpy.signer().private_key_hex
    for shown in (repr(wallet), str(wallet), f"{wallet}"):
        assert key not in shown
        assert "abandon" not in shown
    assert ADDRESS in repr(wallet)
    with pytest.raises(TypeError):
        pickle.dumps(wallet)
    assert not hasattr(wallet, "__dict__")


@pytest.mark.parametrize("key", [b"", bytes(32), bytes(31), b"\xff" * 32])
def test_other_bytes_are_no_key(key: bytes) -> None:
    with pytest.raises(PhraseInvalid) as caught:
        Wallet(key)
    assert caught.value.__cause__ is None


def test_signatures() -> None:
    wallet, other = Wallet(bytes([1] * 32)), Wallet(bytes([2] * 32))
    signature = wallet.sign(b"message")
    assert signature == wallet.sign(b"message")
    assert len(signature) == 64
    assert verify_signature(wallet.public_key, b"message", signature)
    assert not verify_signature(wallet.public_key, b"massage", signature)
    assert not verify_signature(other.public_key, b"message", signature)
    assert not verify_signature(bytes(33), b"message", signature)
    assert not verify_signature(wallet.public_key, b"message", signature[:-1])
    assert not verify_signature(wallet.public_key, b"message", bytes(64))


def test_the_larger_s_is_refused_as_nodes_do() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    wallet = Wallet(bytes([1] * 32))
    signature = wallet.sign(b"message")
    flipped = signature[:32] + (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert not verify_signature(wallet.public_key, b"message", flipped)
