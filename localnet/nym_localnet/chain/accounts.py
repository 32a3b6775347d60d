"""Accounts of the test network's own programs and of its faucet, derived from its seed.

The faucet has a BIP-39 phrase (docs/protocol/08 §2), so that every wallet program can use it as well.
"""

from __future__ import annotations

from nym_credentials.chain.wallet import Wallet, phrase_of
from nym_localnet.sphinx_keys import derive


def phrase_for(seed: bytes, owner: str) -> str:
    """24 words: the account of the `faucet`, of `gateway1`, of `signer2` and so on."""
    return phrase_of(derive(seed, f"phrase of {owner}"))


def wallet_for(seed: bytes, owner: str, prefix: str) -> Wallet:
    """The account behind `phrase_for`. Takes some hundredths of a second."""
    return Wallet.from_phrase(phrase_for(seed, owner), prefix)
