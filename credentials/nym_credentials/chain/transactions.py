"""Transactions: built, signed, and taken apart again (docs/protocol/08 §4.3).

Signing is cosmpy's (`Transaction`), deterministic after RFC 6979: the same deposit always has the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from nym_credentials.addresses import address_of_public_key
from nym_credentials.chain import cosmos
from nym_credentials.chain.messages import (
    BankSend,
    ExecuteContract,
    Message,
    parse,
    public_key_any,
    read_coin,
    read_message,
    read_public_key,
    write,
)
from nym_credentials.chain.wallet import Wallet, verify_signature
from nym_credentials.errors import MalformedChainData
from nym_credentials.money import Coin

SIGN_MODE_DIRECT: Final = 1
DEPOSIT_MEMO: Final = "Ecash::Deposit"
"""What upstream's tools write, so that our deposits look like theirs."""


def hash_of(tx_bytes: bytes) -> str:
    """Upper-case hex of SHA-256: what the chain knows a transaction by."""
    return hashlib.sha256(tx_bytes).hexdigest().upper()


def simulation_bytes(public_key: bytes, sequence: int, messages: Sequence[Message], memo: str) -> bytes:
    """The same transaction without fee and signature, for a simulation."""
    body = cosmos.TxBody(messages=[message.to_any() for message in messages], memo=memo)
    signer = cosmos.SignerInfo(
        public_key=public_key_any(public_key),
        mode_info=cosmos.ModeInfo(single=cosmos.ModeInfo.Single()),
        sequence=sequence,
    )
    auth = cosmos.AuthInfo(signer_infos=[signer], fee=cosmos.Fee())
    return write(cosmos.TxRaw(body_bytes=write(body), auth_info_bytes=write(auth), signatures=[b""]))


def sign_transaction(
    wallet: Wallet,
    messages: Sequence[ExecuteContract | BankSend],
    *,
    memo: str,
    fee: Coin,
    gas_limit: int,
    chain_id: str,
    account_number: int,
    sequence: int,
) -> bytes:
    """The bytes of ``TxRaw``, ready to broadcast. Takes some milliseconds: keep it off the event loop."""
    transaction = cosmos.Transaction()
    for message in messages:
        transaction.add_message(message.to_proto())
    amount = str(fee) if fee.amount else None
    transaction.seal(
        cosmos.SigningCfg.direct(wallet.cosmpy.public_key(), sequence),
        cosmos.TxFee(amount, gas_limit),
        memo=memo,
    )
    transaction.sign(wallet.cosmpy.signer(), chain_id, account_number, deterministic=True)
    return write(
        transaction.complete().tx
    )  # Tx and TxRaw are the same bytes as long as the inside is canonical


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction of one signer, as it arrives at a node."""

    messages: tuple[Message, ...]
    memo: str
    timeout_height: int
    public_key: bytes | None
    """33 bytes; None if the transaction relies on the key that the chain knows already."""
    sign_mode: int
    sequence: int
    fee: tuple[Coin, ...]
    gas_limit: int
    body_bytes: bytes
    auth_info_bytes: bytes
    signature: bytes

    @classmethod
    def decode(cls, tx_bytes: bytes) -> SignedTransaction:
        """From ``TxRaw``. Raises `MalformedChainData`."""
        raw = parse("TxRaw", tx_bytes, "tx")
        body = parse("TxBody", raw.body_bytes, "tx.body")
        auth = parse("AuthInfo", raw.auth_info_bytes, "tx.auth_info")
        if len(auth.signer_infos) != 1 or len(raw.signatures) != 1:
            raise MalformedChainData("tx.signer_infos", "exactly one signer")
        signer = auth.signer_infos[0]
        return cls(
            messages=tuple(read_message(wrapped) for wrapped in body.messages),
            memo=body.memo,
            timeout_height=body.timeout_height,
            public_key=read_public_key(signer.public_key) if signer.HasField("public_key") else None,
            sign_mode=signer.mode_info.single.mode,
            sequence=signer.sequence,
            fee=tuple(read_coin(coin, "tx.fee") for coin in auth.fee.amount),
            gas_limit=auth.fee.gas_limit,
            body_bytes=bytes(raw.body_bytes),
            auth_info_bytes=bytes(raw.auth_info_bytes),
            signature=bytes(raw.signatures[0]),
        )

    def sign_bytes(self, chain_id: str, account_number: int) -> bytes:
        """``SignDoc``: what the signature is made over."""
        document: Any = cosmos.SignDoc(
            body_bytes=self.body_bytes,
            auth_info_bytes=self.auth_info_bytes,
            chain_id=chain_id,
            account_number=account_number,
        )
        return write(document)

    def signer_address(self, prefix: str) -> str | None:
        """The account that the public key belongs to."""
        return None if self.public_key is None else address_of_public_key(self.public_key, prefix)

    def is_signed_by(self, public_key: bytes, chain_id: str, account_number: int) -> bool:
        """Whether the signature is right for that key, chain and account number (and of low S)."""
        return self.sign_mode == SIGN_MODE_DIRECT and verify_signature(
            public_key, self.sign_bytes(chain_id, account_number), self.signature
        )
