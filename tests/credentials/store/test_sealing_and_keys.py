"""Secrets at rest, and the keys that open them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.errors import StoreKeyWrong
from nym_credentials.store.keyfile_io import key_from_environment, own_key, read_key_file
from nym_credentials.store.keys import KeyDerivation, StoreKey
from nym_credentials.store.sealing import KEY_BYTES, SealBroken, Sealer

KEY = bytes(range(KEY_BYTES))


@given(st.text(max_size=20), st.binary(max_size=200))
def test_what_was_sealed_opens_at_its_place_only(place, plaintext):
    sealer = Sealer(KEY)
    sealed = sealer.seal(place, plaintext)
    assert sealer.open(place, sealed) == plaintext
    assert plaintext not in sealed or len(plaintext) < 4
    with pytest.raises(SealBroken):
        sealer.open(place + "x", sealed)
    with pytest.raises(SealBroken):
        Sealer(bytes(KEY_BYTES)).open(place, sealed)


def test_every_changed_byte_is_noticed():
    sealer = Sealer(KEY)
    sealed = sealer.seal("here", b"secret")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            sealer.open("here", bytes(changed))
        with pytest.raises(SealBroken):
            sealer.open("here", sealed[:position])


def test_the_same_secret_never_looks_the_same():
    sealer = Sealer(KEY)
    assert sealer.seal("here", b"secret") != sealer.seal("here", b"secret")


def test_hashes_depend_on_key_and_purpose():
    assert Sealer(KEY).hash("a", b"x") == Sealer(KEY).hash("a", b"x")
    others = {
        Sealer(KEY).hash("a", b"x"),
        Sealer(KEY).hash("b", b"x"),
        Sealer(KEY).hash("a", b"y"),
        Sealer(bytes(KEY_BYTES)).hash("a", b"x"),
    }
    assert len(others) == 4


def test_keys_have_32_bytes():
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(b"short")
    with pytest.raises(StoreKeyWrong, match="32 bytes"):
        StoreKey.from_bytes(b"short")


def test_a_key_is_written_as_hex_and_shown_nowhere():
    key = StoreKey.generate()
    assert StoreKey.from_text(key.to_text(), "it") == key
    assert key.raw is not None
    assert key.raw.hex() not in repr(key)
    assert "correct horse" not in repr(StoreKey.from_passphrase("correct horse"))


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33])
def test_a_text_that_is_no_key_is_refused_without_repeating_it(text):
    with pytest.raises(StoreKeyWrong) as caught:
        StoreKey.from_text(text, "The file key")
    assert "The file key" in str(caught.value)
    assert not text or text not in str(caught.value)


def test_a_passphrase_gives_the_same_key_again():
    key = StoreKey.from_passphrase("correct horse", scrypt_n=2**4)
    derivation = KeyDerivation.decode(key.new_derivation().encode())
    assert key.unlock(derivation) == key.unlock(derivation)
    assert key.unlock(derivation) != key.unlock(key.new_derivation())
    assert key.unlock(derivation) != StoreKey.from_passphrase("wrong horse").unlock(derivation)


def test_short_passphrases_are_refused():
    with pytest.raises(StoreKeyWrong, match="shorter"):
        StoreKey.from_passphrase("1234567")


def test_key_and_passphrase_are_not_taken_for_each_other():
    phrase, raw = StoreKey.from_passphrase("correct horse", scrypt_n=2**4), StoreKey.generate()
    with pytest.raises(StoreKeyWrong, match="opened with a passphrase"):
        raw.unlock(phrase.new_derivation())
    with pytest.raises(StoreKeyWrong, match="opened with a key"):
        phrase.unlock(raw.new_derivation())


@pytest.mark.parametrize("data", [b"{}", b"x", b'{"salt":"00","n":1073741824,"r":8,"p":1}', b'{"salt":1}'])
def test_damaged_derivations_are_refused(data):
    with pytest.raises(ValueError):
        KeyDerivation.decode(data)


def test_a_key_file_is_made_once_and_for_its_owner_only(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(StoreKeyWrong, match="missing"):
        own_key(path, may_create=False)
    key = own_key(path, may_create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert own_key(path, may_create=True) == own_key(path, may_create=False) == read_key_file(path) == key
    assert os.listdir(tmp_path) == ["key"]
    path.chmod(0o640)
    with pytest.raises(StoreKeyWrong, match="chmod 600"):
        own_key(path, may_create=False)
    assert read_key_file(path) == key, "a file that the operator names may be mounted readable"


def test_unreadable_key_files(tmp_path):
    with pytest.raises(StoreKeyWrong, match="cannot be read"):
        read_key_file(tmp_path / "none")
    (tmp_path / "binary").write_bytes(bytes(range(128, 160)))
    with pytest.raises(StoreKeyWrong, match="no store key"):
        read_key_file(tmp_path / "binary")
    with pytest.raises(StoreKeyWrong, match="cannot be made"):
        own_key(tmp_path / "none" / "key", may_create=True)


def test_a_key_from_the_environment():
    key = StoreKey.generate()
    assert key_from_environment({"STORE_KEY": key.to_text()}, "STORE_KEY") == key
    with pytest.raises(StoreKeyWrong, match="STORE_KEY"):
        key_from_environment({}, "STORE_KEY")
