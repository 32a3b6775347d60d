"""Messages between a client and a network requester, both directions, all versions.

docs/protocol/05 §1 (envelope) and §2 (SOCKS5 messages). A whole message is an envelope (interface version
and tag) around either a control message (:mod:`nym_exit.control`) or a SOCKS5 message with a version of its
own. Encoding follows the versions given; decoding returns them, because answers are given in kind.

Mind the two field orders: id, closed, seq in a :class:`Send`; closed, id, seq in a :class:`NetworkData`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from nym_exit.bincode import Reader, encode_bool, encode_str, encode_uint
from nym_exit.control import (
    ControlRequest,
    ControlResponse,
    decode_control_response,
    encode_control_response,
)
from nym_exit.errors import BadTarget, MalformedBincode, MalformedRequest, MalformedResponse
from nym_exit.exit_policy import ExitPolicy
from nym_exit.versions import CURRENT, LEGACY, version_from_byte, version_prefix
from nym_sphinx.addressing import Recipient
from nym_sphinx.errors import SphinxError

#: Bytes in front of the data of a Send or a NetworkData in today's form: envelope, version, flag, header.
DATA_OVERHEAD_BYTES: Final = 21

_TAG_CONTROL: Final = 0
_TAG_PROVIDER: Final = 1

_FLAG_CONNECT: Final = 0
_FLAG_SEND: Final = 1
_FLAG_QUERY: Final = 2

_FLAG_NETWORK_DATA: Final = 1
_FLAG_CONNECTION_ERROR: Final = 2
_FLAG_QUERY_ANSWER: Final = 3

_SEND: Final = struct.Struct(">Q?Q")
_NETWORK_DATA: Final = struct.Struct(">?QQ")
_HEADER_BYTES: Final = 17
_RECIPIENT_BYTES: Final = 96
_ADDRESS_MAX_BYTES: Final = 0xFFFF


class Query(Enum):
    """What a client can ask about an exit; the value is the bincode variant number (§2.3)."""

    OPEN_PROXY = 0
    DESCRIPTION = 1
    EXIT_POLICY = 2


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a TCP connection (§2.1).

    ``remote`` is ``host:port`` text (:mod:`nym_exit.targets`); ``return_address`` None means that answers go
    over the reply SURBs of the message. Not in ``repr``: a destination is nobody's business.
    """

    connection_id: int
    remote: str
    return_address: Recipient | None = None

    def __repr__(self) -> str:
        return f"Connect(connection_id={self.connection_id})"


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for the target (§2.2); empty and not closed is a keep-alive."""

    connection_id: int
    seq: int
    data: bytes = b""
    closed: bool = False

    def __repr__(self) -> str:
        return _data_repr("Send", self.connection_id, self.seq, self.data, self.closed)


@dataclass(frozen=True, slots=True)
class NetworkData:
    """Bytes from the target (§2.4); empty and not closed is a keep-alive."""

    connection_id: int
    seq: int
    data: bytes = b""
    closed: bool = False

    def __repr__(self) -> str:
        return _data_repr("NetworkData", self.connection_id, self.seq, self.data, self.closed)


@dataclass(frozen=True, slots=True)
class ConnectionRefused:
    """The exit's ConnectionError (§2.4): policy, or a name that does not resolve.

    ``message`` repeats the destination: keep it out of logs.
    """

    connection_id: int
    message: str = ""

    def __repr__(self) -> str:
        return f"ConnectionRefused(connection_id={self.connection_id})"


@dataclass(frozen=True, slots=True)
class OpenProxyAnswer:
    """Whether the exit is an open proxy."""

    open_proxy: bool


@dataclass(frozen=True, slots=True)
class DescriptionAnswer:
    """The exit's description of itself."""

    description: str


@dataclass(frozen=True, slots=True)
class ExitPolicyAnswer:
    """The exit's policy and where it was loaded from."""

    enabled: bool
    upstream: str
    policy: ExitPolicy | None


@dataclass(frozen=True, slots=True)
class QueryErrorAnswer:
    """The exit could not answer a query."""

    message: str


Request: TypeAlias = Connect | Send | Query
QueryAnswer: TypeAlias = OpenProxyAnswer | DescriptionAnswer | ExitPolicyAnswer | QueryErrorAnswer
Response: TypeAlias = NetworkData | ConnectionRefused | QueryAnswer

_QUERY_ANSWERS: Final = 4


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """A whole client-to-exit message. ``protocol`` means nothing for a control request."""

    content: Request | ControlRequest
    interface: int = CURRENT
    protocol: int = CURRENT

    def encode(self) -> bytes:
        """The bytes of a Nym message's body. A control request has no legacy form: empty."""
        content = self.content
        if isinstance(content, ControlRequest):
            if self.interface == LEGACY:
                return b""
            return bytes((self.interface, _TAG_CONTROL)) + content.encode()
        return (
            _envelope(self.interface, _TAG_PROVIDER)
            + bytes((self.protocol,))
            + encode_request_content(content)
        )

    @classmethod
    def decode(cls, data: bytes) -> RequestMessage:
        """Read a message as an exit does.

        Raises:
            MalformedRequest, MalformedControl: no valid message; upstream's exit drops it without a word.
        """
        if not data:
            raise MalformedRequest("a request is empty")
        interface = version_from_byte(data[0])
        start = 0
        if interface != LEGACY:
            if len(data) < 2:
                raise MalformedRequest("a request ends after its interface version")
            tag = data[1]
            if tag == _TAG_CONTROL:
                return cls(ControlRequest.decode(data[2:]), interface)
            if tag != _TAG_PROVIDER:
                raise MalformedRequest(f"{tag} is not a request tag")
            start = 2
        if len(data) <= start:
            raise MalformedRequest("a request has no content")
        protocol = version_from_byte(data[start])
        if protocol > CURRENT:
            raise MalformedRequest(f"version {protocol} of the SOCKS5 protocol is not known")
        return cls(_decode_request_content(data, start + 1), interface, protocol)


@dataclass(frozen=True, slots=True)
class ResponseMessage:
    """A whole exit-to-client message. ``protocol`` means nothing for a control answer."""

    content: Response | ControlResponse
    interface: int = CURRENT
    protocol: int = CURRENT

    def encode(self) -> bytes:
        """The bytes of a Nym message's body. A control answer has no legacy form: empty."""
        content = self.content
        if isinstance(content, _RESPONSE_TYPES):
            # unlike a request, a legacy response has no version byte at all
            return (
                _envelope(self.interface, _TAG_PROVIDER)
                + version_prefix(self.protocol)
                + encode_response_content(content)
            )
        if self.interface == LEGACY:
            return b""
        return bytes((self.interface, _TAG_CONTROL)) + encode_control_response(content)

    @classmethod
    def decode(cls, data: bytes) -> ResponseMessage:
        """Read a message as a client does.

        Raises:
            MalformedResponse, MalformedControl: no valid message.
        """
        if not data:
            raise MalformedResponse("a response is empty")
        interface = version_from_byte(data[0])
        start = 0
        if interface != LEGACY:
            if len(data) < 2:
                raise MalformedResponse("a response ends after its interface version")
            tag = data[1]
            if tag == _TAG_CONTROL:
                return cls(decode_control_response(data[2:]), interface)
            if tag != _TAG_PROVIDER:
                raise MalformedResponse(f"{tag} is not a response tag")
            start = 2
        if len(data) <= start:
            raise MalformedResponse("a response has no content")
        protocol = version_from_byte(data[start])
        if protocol != LEGACY:
            start += 1
        return cls(_decode_response_content(data, start), interface, protocol)


def encode_request_content(content: Request) -> bytes:
    """Flag and payload of a request, without versions and envelope."""
    match content:
        case Send(connection_id, seq, data, closed):
            return bytes((_FLAG_SEND,)) + _SEND.pack(connection_id, closed, seq) + data
        case Connect(connection_id, remote, return_address):
            address = remote.encode()
            if len(address) > _ADDRESS_MAX_BYTES:
                raise BadTarget(
                    f"the address text has {len(address)} bytes, at most {_ADDRESS_MAX_BYTES} fit"
                )
            return b"".join(
                (
                    bytes((_FLAG_CONNECT,)),
                    connection_id.to_bytes(8, "big"),
                    len(address).to_bytes(2, "big"),
                    address,
                    b"" if return_address is None else return_address.encode(),
                )
            )
        case Query():
            return bytes((_FLAG_QUERY,)) + encode_uint(content.value)


def encode_response_content(content: Response) -> bytes:
    """Flag and payload of a response, without versions and envelope."""
    match content:
        case NetworkData(connection_id, seq, data, closed):
            return bytes((_FLAG_NETWORK_DATA,)) + _NETWORK_DATA.pack(closed, connection_id, seq) + data
        case ConnectionRefused(connection_id, message):
            return bytes((_FLAG_CONNECTION_ERROR,)) + connection_id.to_bytes(8, "big") + message.encode()
        case OpenProxyAnswer(open_proxy):
            body = encode_uint(0) + encode_bool(open_proxy)
        case DescriptionAnswer(description):
            body = encode_uint(1) + encode_str(description)
        case ExitPolicyAnswer(enabled, upstream, policy):
            body = (
                encode_uint(2) + encode_bool(enabled) + encode_str(upstream) + encode_bool(policy is not None)
            )
            if policy is not None:
                body += policy.encode()
        case QueryErrorAnswer(message):
            body = encode_uint(3) + encode_str(message)
    return bytes((_FLAG_QUERY_ANSWER,)) + body


_RESPONSE_TYPES: Final = (
    NetworkData,
    ConnectionRefused,
    OpenProxyAnswer,
    DescriptionAnswer,
    ExitPolicyAnswer,
    QueryErrorAnswer,
)


def _envelope(interface: int, tag: int) -> bytes:
    return b"" if interface == LEGACY else bytes((interface, tag))


def _decode_request_content(data: bytes, start: int) -> Request:
    if len(data) <= start:
        raise MalformedRequest("a request has no flag")
    flag = data[start]
    body = start + 1
    if flag == _FLAG_SEND:
        if len(data) < body + _HEADER_BYTES:
            raise MalformedRequest(
                f"a Send has {len(data) - body} bytes, its header alone has {_HEADER_BYTES}"
            )
        connection_id, closed, seq = _SEND.unpack_from(data, body)
        return Send(connection_id, seq, data[body + _HEADER_BYTES :], closed)
    if flag == _FLAG_CONNECT:
        return _decode_connect(data, body)
    if flag == _FLAG_QUERY:
        reader = Reader(data[body:])
        try:
            query = Query(reader.variant(len(Query)))
            reader.finish()
        except MalformedBincode as error:
            raise MalformedRequest(f"a Query cannot be read: {error}") from error
        return query
    raise MalformedRequest(f"{flag} is not a request flag")


def _decode_connect(data: bytes, body: int) -> Connect:
    address_start = body + 10
    if len(data) < address_start:
        raise MalformedRequest("a Connect ends before its address")
    connection_id = int.from_bytes(data[body : body + 8], "big")
    address_end = address_start + int.from_bytes(data[body + 8 : address_start], "big")
    if len(data) < address_end:
        raise MalformedRequest("a Connect ends inside its address")
    # what is not UTF-8 becomes U+FFFD, as in the reference; such a name will not resolve
    remote = data[address_start:address_end].decode("utf-8", "replace")
    rest = data[address_end:]
    if not rest:
        return Connect(connection_id, remote)
    if len(rest) != _RECIPIENT_BYTES:
        raise MalformedRequest(f"a return address has {len(rest)} bytes instead of {_RECIPIENT_BYTES}")
    try:
        return Connect(connection_id, remote, Recipient.decode(rest))
    except SphinxError as error:
        raise MalformedRequest(f"the return address of a Connect is malformed: {error}") from error


def _decode_response_content(data: bytes, start: int) -> Response:
    if len(data) <= start:
        raise MalformedResponse("a response has no flag")
    flag = data[start]
    body = start + 1
    if flag == _FLAG_NETWORK_DATA:
        if len(data) < body + _HEADER_BYTES:
            raise MalformedResponse(
                f"a NetworkData has {len(data) - body} bytes, its header alone has {_HEADER_BYTES}"
            )
        closed, connection_id, seq = _NETWORK_DATA.unpack_from(data, body)
        return NetworkData(connection_id, seq, data[body + _HEADER_BYTES :], closed)
    if flag == _FLAG_CONNECTION_ERROR:
        if len(data) < body + 8:
            raise MalformedResponse("a ConnectionError ends inside its connection id")
        try:
            message = data[body + 8 :].decode()
        except UnicodeDecodeError as error:
            raise MalformedResponse("the text of a ConnectionError is not UTF-8") from error
        return ConnectionRefused(int.from_bytes(data[body : body + 8], "big"), message)
    if flag == _FLAG_QUERY_ANSWER:
        try:
            return _decode_query_answer(Reader(data[body:]))
        except MalformedBincode as error:
            raise MalformedResponse(f"a query's answer cannot be read: {error}") from error
    raise MalformedResponse(f"{flag} is not a response flag")


def _decode_query_answer(reader: Reader) -> QueryAnswer:
    answer: QueryAnswer
    match reader.variant(_QUERY_ANSWERS):
        case 0:
            answer = OpenProxyAnswer(reader.boolean())
        case 1:
            answer = DescriptionAnswer(reader.text())
        case 2:
            enabled = reader.boolean()
            upstream = reader.text()
            answer = ExitPolicyAnswer(enabled, upstream, ExitPolicy.read(reader) if reader.option() else None)
        case _:
            answer = QueryErrorAnswer(reader.text())
    reader.finish()
    return answer


def _data_repr(name: str, connection_id: int, seq: int, data: bytes, closed: bool) -> str:
    return f"{name}(connection_id={connection_id}, seq={seq}, {len(data)} bytes, closed={closed})"


__all__ = [
    "DATA_OVERHEAD_BYTES",
    "Connect",
    "ConnectionRefused",
    "DescriptionAnswer",
    "ExitPolicyAnswer",
    "NetworkData",
    "OpenProxyAnswer",
    "Query",
    "QueryAnswer",
    "QueryErrorAnswer",
    "Request",
    "RequestMessage",
    "Response",
    "ResponseMessage",
    "Send",
    "encode_request_content",
    "encode_response_content",
]
