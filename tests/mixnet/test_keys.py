"""A client's long-lived keys and their files (docs/protocol/04 §6)."""

from __future__ import annotations

import contextlib
import random
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base

from nym_mixnet.errors import StoreError
from nym_mixnet.keys import (
    ACK_KEY_LABEL,
    PRIVATE_IDENTITY_LABEL,
    ClientKeys,
    SigningKey,
    decode_pem,
    encode_pem,
    read_key_files,
    verify_signature,
    write_key_files,
)

KEYS = ClientKeys.generate(random.Random(1))
SECRET_FILES = ["ack_key.pem", "private_encryption.pem", "private_identity.pem"]
PUBLIC_FILES = ["public_encryption.pem", "public_identity.pem"]


def test_generated_keys():
    assert ClientKeys.generate(random.Random(1)) == KEYS
    assert ClientKeys.generate(random.Random(2)) != KEYS
    assert KEYS.encryption_public == crypto_scalarmult_base(KEYS.encryption_private)
    signature = KEYS.sign(b"data")
    assert verify_signature(KEYS.identity_public, b"data", signature)
    assert not verify_signature(KEYS.identity_public, b"other data", signature)
    assert not verify_signature(KEYS.identity_public, b"data", signature[::-1])


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=70))
def test_any_signature(public, data, signature):
    assert not verify_signature(public, data, signature)


@pytest.mark.parametrize("lengths", [(31, 32, 16), (32, 33, 16), (32, 32, 0)])
def test_wrong_lengths(lengths):
    with pytest.raises(ValueError, match="32, 32 and 16"):
        ClientKeys(*(bytes(length) for length in lengths))


def test_secrets_are_not_shown():
    shown = repr(KEYS) + repr(KEYS.signing_key) + repr(SigningKey(KEYS.identity_private))
    for secret in (KEYS.identity_private, KEYS.encryption_private, KEYS.ack_key):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


# --- PEM -----------------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=200))
def test_any_content_comes_back(raw):
    text = encode_pem("SOME KEY", raw)
    assert decode_pem(text, "SOME KEY", len(raw)) == raw
    assert decode_pem(text.replace("\r\n", "\n"), "SOME KEY", len(raw)) == raw
    assert decode_pem("\n" + text.rstrip(), "SOME KEY", len(raw)) == raw
    assert all(len(line) <= 64 for line in text.split("\r\n"))


SECRET_BODY = encode_pem(ACK_KEY_LABEL, KEYS.ack_key).split("\r\n")[1]


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "not a PEM"),
        (f"-----BEGIN {ACK_KEY_LABEL}-----\n{SECRET_BODY}\n", "not a PEM"),
        (encode_pem(ACK_KEY_LABEL, KEYS.ack_key) * 2, "not a PEM"),
        (encode_pem(PRIVATE_IDENTITY_LABEL, KEYS.ack_key), "ED25519 PRIVATE KEY where"),
        (encode_pem(ACK_KEY_LABEL, KEYS.ack_key[:15]), "15 bytes instead of 16"),
        (encode_pem(ACK_KEY_LABEL, KEYS.ack_key).replace("==", "="), "not base64"),
    ],
)
def test_wrong_pem(text, says):
    with pytest.raises(StoreError, match=says) as caught:
        decode_pem(text, ACK_KEY_LABEL, 16)
    assert SECRET_BODY.rstrip("=") not in str(caught.value)


@given(st.text(alphabet="-BEGINDKY \r\n=Aa1+/é", max_size=100), st.booleans())
def test_any_pem(text, framed):
    if framed:
        text = f"-----BEGIN {ACK_KEY_LABEL}-----\n{text}\n-----END {ACK_KEY_LABEL}-----\n"
    with contextlib.suppress(StoreError):
        assert len(decode_pem(text, ACK_KEY_LABEL, 16)) == 16


# --- files ---------------------------------------------------------------------------------------------


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files(tmp_path):
    assert read_key_files(tmp_path) is None
    write_key_files(tmp_path, KEYS)
    assert names(tmp_path) == SECRET_FILES + PUBLIC_FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert read_key_files(tmp_path) == KEYS


@pytest.mark.parametrize("name", SECRET_FILES)
def test_a_missing_secret_is_named_and_nothing_is_made(tmp_path, name):
    write_key_files(tmp_path, KEYS)
    (tmp_path / name).unlink()
    with pytest.raises(StoreError, match=f"{name} is missing"):
        read_key_files(tmp_path)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", SECRET_FILES + PUBLIC_FILES)
def test_a_damaged_file_is_named(tmp_path, name):
    write_key_files(tmp_path, KEYS)
    for content in (b"", b"\xff\xfe", b"-----BEGIN"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match=name):
            read_key_files(tmp_path)


@pytest.mark.parametrize("name", PUBLIC_FILES)
def test_public_files_may_be_missing_but_not_another_keys(tmp_path, name):
    write_key_files(tmp_path, KEYS)
    (tmp_path / name).unlink()
    assert read_key_files(tmp_path) == KEYS
    (tmp_path / name).write_bytes(ClientKeys.generate(random.Random(9)).pem_files()[name].encode())
    with pytest.raises(StoreError, match=f"{name} does not belong"):
        read_key_files(tmp_path)
