"""Ciphers: the quick way with one object and many keys gives what fresh objects give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_sphinx import ciphers
from nym_sphinx.ciphers import aes_block, aes_ctr, header_keystreams, lioness_decrypt, lioness_encrypt

blocks = st.binary(min_size=33, max_size=300)
payload_keys = st.binary(min_size=192, max_size=192)


@given(st.lists(payload_keys, max_size=5), blocks)
def test_layers_come_off_in_reverse(keys, block):
    layered = lioness_encrypt(keys, block)
    assert len(layered) == len(block)
    for key in reversed(keys):
        layered = lioness_decrypt(key, layered)
    assert layered == block


@given(payload_keys, blocks)
def test_both_kinds_of_stream_agree(key, block):
    quick = lioness_encrypt([key, key[::-1]], block)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ciphers, "_new_chacha20", ciphers._fresh_chacha20)
        patch.setattr(ciphers, "_new_aes_ctr", ciphers._fresh_aes_ctr)
        assert lioness_encrypt([key, key[::-1]], block) == quick
        plain = header_keystreams([key[:16], key[16:32]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ciphers, "_new_chacha20", ciphers._rekeyed_chacha20)
        patch.setattr(ciphers, "_new_aes_ctr", ciphers._rekeyed_aes_ctr)
        assert lioness_encrypt([key, key[::-1]], block) == quick
        assert header_keystreams([key[:16], key[16:32]]) == plain


def test_quick_kind_is_in_use():
    assert ciphers._new_chacha20 is ciphers._rekeyed_chacha20
    assert ciphers._new_aes_ctr is ciphers._rekeyed_aes_ctr


def test_a_library_that_does_not_follow_new_keys_is_noticed():
    def stubborn():
        return lambda key, data: ciphers._fresh_aes_ctr()(bytes(16), data)

    def fixed():
        def stream(key, data):
            raise AttributeError("key is read-only")

        return stream

    for kind in (stubborn, fixed):
        assert ciphers._pick(kind, ciphers._fresh_aes_ctr, b"\x01" * 16) is ciphers._fresh_aes_ctr


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_aes_block_is_counter_mode_of_one_block(key, data):
    assert aes_block(key, bytes(16)) == aes_ctr(key, bytes(16))
    assert aes_block(key, data) == aes_block(key, data)
    assert aes_ctr(key, aes_ctr(key, data)) == data
