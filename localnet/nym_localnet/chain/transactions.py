"""Reading and checking transactions, the node's side of docs/protocol/08 §4.3.

Only one signer in mode DIRECT is understood, which is what every client of this network uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from nym_credentials.chain import cosmos
from nym_credentials.chain.messages import (
    EXECUTE_RESPONSE_TYPE,
    BankSend,
    ExecuteContract,
    OtherMessage,
    parse,
    read_coin,
    read_message,
    read_public_key,
    write,
)
from nym_credentials.errors import MalformedChainData
from nym_credentials.money import Coin
from nym_localnet.chain.errors import (
    INVALID_REQUEST,
    NO_SIGNATURES,
    TOO_MANY_SIGNATURES,
    TX_DECODE,
    Rejected,
)

SEND_RESPONSE_TYPE: Final = "/cosmos.bank.v1beta1.MsgSendResponse"
SIGNATURE_BYTES: Final = 64
CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MODE_DIRECT: Final = 1

Known = ExecuteContract | BankSend


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as far as a node looks at it."""

    raw: bytes
    body: bytes
    auth_info: bytes
    messages: tuple[Known, ...]
    timeout_height: int
    public_key: bytes
    """empty when the signer leaves it to the account"""
    mode: int
    sequence: int
    fee: tuple[Coin, ...]
    gas_limit: int
    signatures: tuple[bytes, ...]

    @property
    def sender(self) -> str:
        """Who signs and pays: the sender of the first message."""
        return self.messages[0].sender

    @property
    def hash(self) -> str:
        """Upper-case hex, as nodes print it."""
        return transaction_hash(self.raw)

    @classmethod
    def decode(cls, raw: bytes) -> Transaction:
        """Raises `Rejected` for what cannot be read."""
        try:
            envelope = parse("TxRaw", raw, "tx")
            body = parse("TxBody", envelope.body_bytes, "tx.body")
            auth = parse("AuthInfo", envelope.auth_info_bytes, "tx.auth_info")
            messages = tuple(_known(read_message(each)) for each in body.messages)
            if not messages:
                raise Rejected(INVALID_REQUEST, "must contain at least one message: invalid request")
            if not auth.signer_infos or not envelope.signatures:
                raise Rejected(NO_SIGNATURES, "no signatures supplied")
            if len(auth.signer_infos) > 1 or len(envelope.signatures) > 1:
                raise Rejected(TOO_MANY_SIGNATURES, "one signer is all this chain takes: too many signatures")
            signer = auth.signer_infos[0]
            public_key = read_public_key(signer.public_key) if signer.HasField("public_key") else b""
            fee = tuple(read_coin(each, "tx.fee") for each in auth.fee.amount)
        except MalformedChainData as error:
            raise _undecodable(str(error)) from error
        return cls(
            raw=raw,
            body=bytes(envelope.body_bytes),
            auth_info=bytes(envelope.auth_info_bytes),
            messages=messages,
            timeout_height=body.timeout_height,
            public_key=public_key,
            mode=signer.mode_info.single.mode,
            sequence=signer.sequence,
            fee=fee,
            gas_limit=auth.fee.gas_limit,
            signatures=tuple(bytes(each) for each in envelope.signatures),
        )

    def is_signed(self, public_key: bytes, chain_id: str, account_number: int) -> bool:
        """Whether the signature is that key's, for that chain and account. As on the real chain, low S only."""
        signature = self.signatures[0]
        if self.mode != MODE_DIRECT or len(signature) != SIGNATURE_BYTES:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if not 0 < s <= CURVE_ORDER // 2:
            return False
        document = cosmos.SignDoc(
            body_bytes=self.body,
            auth_info_bytes=self.auth_info,
            chain_id=chain_id,
            account_number=account_number,
        )
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public_key)
            key.verify(encode_dss_signature(r, s), write(document), ec.ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


def transaction_hash(raw: bytes) -> str:
    """Upper-case hex of SHA-256."""
    return hashlib.sha256(raw).hexdigest().upper()


def message_data(responses: Sequence[tuple[str, bytes]]) -> bytes:
    """The data of a transaction's result: what each of its messages was answered (docs/protocol/08 §4.2)."""
    data = cosmos.TxMsgData()
    for url, value in responses:
        data.msg_responses.add(type_url=url, value=value)
    return write(data)


def execute_response(data: bytes) -> tuple[str, bytes]:
    """The answer to one message for a contract, with its type."""
    return EXECUTE_RESPONSE_TYPE, write(cosmos.MsgExecuteContractResponse(data=data))


def _known(message: ExecuteContract | BankSend | OtherMessage) -> Known:
    if isinstance(message, OtherMessage):
        raise _undecodable(f"unable to resolve type URL {message.type_url}")
    return message


def _undecodable(text: str) -> Rejected:
    return Rejected(TX_DECODE, f"{text}: tx parse error")
