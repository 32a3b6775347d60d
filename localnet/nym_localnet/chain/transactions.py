"""Transactions as the chain takes them (docs/protocol/08 §4.3); the codec is that of `nym_credentials.chain`.

Only one signer in mode DIRECT is understood, which is what every client of this network uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nym_credentials.chain import cosmos
from nym_credentials.chain.messages import (
    EXECUTE_RESPONSE_TYPE,
    BankSend,
    ExecuteContract,
    Message,
    OtherMessage,
    write,
)
from nym_credentials.chain.transactions import SignedTransaction, hash_of
from nym_credentials.errors import MalformedChainData
from nym_localnet.chain.errors import INVALID_REQUEST, TX_DECODE, Rejected

SEND_RESPONSE_TYPE: Final = "/cosmos.bank.v1beta1.MsgSendResponse"

Known = ExecuteContract | BankSend


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction whose messages the chain knows."""

    raw: bytes
    signed: SignedTransaction
    messages: tuple[Known, ...]

    @property
    def sender(self) -> str:
        """Who signs and pays: the sender of the first message."""
        return self.messages[0].sender

    @property
    def hash(self) -> str:
        """Upper-case hex, as nodes print it."""
        return hash_of(self.raw)

    @classmethod
    def decode(cls, raw: bytes) -> Transaction:
        """Raises `Rejected` for what cannot be read."""
        try:
            signed = SignedTransaction.decode(raw)
        except MalformedChainData as error:
            raise _undecodable(str(error)) from error
        messages = tuple(_known(message) for message in signed.messages)
        if not messages:
            raise Rejected(INVALID_REQUEST, "must contain at least one message: invalid request")
        return cls(raw, signed, messages)


def message_data(responses: Sequence[tuple[str, bytes]]) -> bytes:
    """The data of a transaction's result: what each of its messages was answered (docs/protocol/08 §4.2)."""
    data = cosmos.TxMsgData()
    for url, value in responses:
        data.msg_responses.add(type_url=url, value=value)
    return write(data)


def execute_response(data: bytes) -> tuple[str, bytes]:
    """The answer to one message for a contract, with its type."""
    return EXECUTE_RESPONSE_TYPE, write(cosmos.MsgExecuteContractResponse(data=data))


def _known(message: Message) -> Known:
    if isinstance(message, OtherMessage):
        raise _undecodable(f"unable to resolve type URL {message.type_url}")
    return message


def _undecodable(text: str) -> Rejected:
    return Rejected(TX_DECODE, f"{text}: tx parse error")
