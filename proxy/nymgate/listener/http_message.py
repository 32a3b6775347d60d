"""HTTP/1.1 as a proxy reads it (RFC 9110, 9112): targets of requests, headers of one hop, answers of our own.

Pure functions over h11's events. What is sent on is written anew from what was understood, never copied: where
the end of a request can be read in two ways it is refused, so nothing can be smuggled past this proxy. No ``Via`` is
added (RFC 9110 §7.6.3 asks for one): it would tell every destination what software its visitor uses.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast

import h11

from nymgate.listener.credential import Credential, of_authorization, of_isolation
from nymgate.listener.handshake import Target, bad_host
from nymgate.refusals import REFUSALS, Refusal

MAX_HEAD_BYTES: Final = 32 << 10
HTTP_PORT: Final = 80

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
# As Tor users know them; the shorter name is of Tor's proposal 365.
ISOLATION: Final = frozenset((b"x-tor-stream-isolation", b"tor-stream-isolation"))
# Said to this proxy, whatever the Connection header says.
FOR_US: Final = frozenset(
    (
        *ISOLATION,
        b"tor-family-preference",
        b"tor-rpc-target",
        b"proxy-status",
    )
)
# Never dropped because a Connection header names them: that would change what the message means.
_END_TO_END: Final = frozenset(
    (b"host", b"content-length", b"content-type", b"cache-control", b"cookie", b"authorization")
)
_COUNTED: Final = (b"TRACE", b"OPTIONS")  # RFC 9110 §7.6.2
_COUNT: Final = re.compile(rb"[0-9]{1,9}")
_DIGITS: Final = re.compile(rb"[0-9]{1,5}")
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)")

_CHALLENGE: Final = 'Proxy-Authenticate: Basic realm="nymgate", charset="UTF-8"'

Headers = list[tuple[bytes, bytes]]


class BadRequest(Exception):
    """A request that is refused, with its line of the table."""

    def __init__(self, code: str) -> None:
        super().__init__(REFUSALS[code].text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Asked:
    """A request understood: where to, what to send there (None: a tunnel), and who asks."""

    target: Target
    request: h11.Request | None
    credential: Credential | None = None
    token: str | None = field(default=None, repr=False)


def split_authority(raw: bytes, default_port: int | None) -> Target:
    """``host:port`` of a request. Raises BadRequest."""
    host, colon, port = raw.rpartition(b":")
    if not colon or port.endswith(b"]"):
        host, port = raw, b""
    if port:
        if not _DIGITS.fullmatch(port):
            raise BadRequest("E_BAD_TARGET")
        number = int(port)
    elif default_port is None:
        raise BadRequest("E_BAD_TARGET")
    else:
        number = default_port
    return Target(_host(host), _port(number))


def _host(raw: bytes) -> str:
    try:
        host = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("E_BAD_TARGET") from None
    if host.startswith("[") and host.endswith("]"):
        try:
            address = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise BadRequest("E_BAD_TARGET") from None
        if address.scope_id is not None:  # a network card of this machine, which is no affair of an exit
            raise BadRequest("E_BAD_TARGET")
        return str(address)
    if ":" in host or bad_host(host):
        raise BadRequest("E_BAD_TARGET")
    return host


def _port(number: int) -> int:
    if not 0 < number < 65536:
        raise BadRequest("E_BAD_TARGET")
    return number


def understand(request: h11.Request) -> Asked:
    """What a request asks of the proxy. Raises BadRequest."""
    _check_size(request)
    _check_framing(request)
    credential = of_authorization([v for name, v in request.headers if name == b"proxy-authorization"])
    token = of_isolation([v for name, v in request.headers if name in ISOLATION])
    if request.method == b"CONNECT":
        return Asked(split_authority(request.target, None), None, credential, token)
    if (found := _ABSOLUTE.fullmatch(request.target)) is None:
        raise BadRequest("E_HTTP_NOT_PROXIED")
    scheme, authority, path = found.groups()
    if scheme.lower() not in (b"http", b"ws"):
        raise BadRequest("E_HTTP_SCHEME")
    target = split_authority(authority, HTTP_PORT)
    if not path.startswith(b"/"):
        path = b"*" if request.method == b"OPTIONS" and not path else b"/" + path
    return Asked(
        target,
        h11.Request(method=request.method, target=path, headers=_request_headers(request, authority)),
        credential,
        token,
    )


def _check_size(request: h11.Request) -> None:
    """h11 measures only heads that arrive in pieces."""
    fields = sum(len(name) + len(value) + len(b": \r\n") for name, value in request.headers)
    if len(request.method) + len(request.target) + fields > MAX_HEAD_BYTES:
        raise BadRequest("E_HTTP_TOO_LARGE")


def _check_framing(request: h11.Request) -> None:
    """Refuse what two readers could take for messages of different length."""
    names = {name for name, _ in request.headers}
    has_length = b"content-length" in names
    if b"transfer-encoding" in names and (has_length or request.http_version < b"1.1"):
        raise BadRequest("E_HTTP_FRAMING")
    if request.method == b"CONNECT" and (has_length or b"transfer-encoding" in names):
        if has_length and all(v == b"0" for name, v in request.headers if name == b"content-length"):
            return
        raise BadRequest("E_HTTP_FRAMING")


def _request_headers(request: h11.Request, authority: bytes) -> Headers:
    dropped = HOP_BY_HOP | FOR_US | named_in_connection(request.headers)
    upgrade = _upgrade(request)
    sent: Headers = []
    for raw_name, value in request.headers.raw_items():
        name = raw_name.lower()
        if name == b"host":
            # The target of the request holds, whatever stands here (RFC 9112 §3.2.2).
            sent.insert(0, (raw_name, authority))
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise BadRequest("E_HTTP_EXPECT")
            if request.http_version >= b"1.1":
                sent.append((raw_name, value))
        elif name == b"max-forwards" and request.method in _COUNTED and _COUNT.fullmatch(value):
            if int(value) == 0:
                raise BadRequest("E_HTTP_MAX_FORWARDS")
            sent.append((raw_name, b"%d" % (int(value) - 1)))
        elif name == b"transfer-encoding":
            sent.append((raw_name, b"chunked"))
        elif name not in dropped:
            sent.append((raw_name, value))
    if not sent or sent[0][0].lower() != b"host":
        sent.insert(0, (b"Host", authority))
    if upgrade is not None:
        sent += [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade)]
    return sent


def _upgrade(request: h11.Request) -> bytes | None:
    """The protocols the application would change to. Not h2c: its settings header is of one hop, and it is gone from
    HTTP (RFC 9113 §3.1)."""
    if request.http_version < b"1.1" or b"upgrade" not in _tokens(request.headers, b"connection"):
        return None
    offered = [value for name, value in request.headers if name == b"upgrade"]
    protocols = [token.strip() for value in offered for token in value.split(b",")]
    return b", ".join(token for token in protocols if token and token.lower() != b"h2c") or None


def named_in_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Header names that a Connection header makes headers of one hop."""
    return _tokens(headers, b"connection") - _END_TO_END


def _tokens(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> frozenset[bytes]:
    return frozenset(
        token.strip().lower() for name, value in headers if name == wanted for token in value.split(b",")
    )


def response_headers(response: h11.Response | h11.InformationalResponse) -> Headers:
    """The headers of a destination's answer for the application; h11 adds those of the new hop."""
    dropped = HOP_BY_HOP | named_in_connection(response.headers)
    if any(name == b"transfer-encoding" for name, _ in response.headers):
        dropped |= {b"content-length"}  # it does not count then, and must not travel on
    return [(raw, value) for raw, value in response.headers.raw_items() if raw.lower() not in dropped]


def upgrade_headers(response: h11.InformationalResponse) -> Headers:
    """The same for a 101: these two headers of one hop are the point of it."""
    protocols = [value for name, value in response.headers if name == b"upgrade"]
    return [
        *response_headers(response),
        (b"Connection", b"Upgrade"),
        *((b"Upgrade", value) for value in protocols),
    ]


def trailers(end: h11.EndOfMessage) -> Headers:
    """Fields after a chunked body that may travel on."""
    kept = HOP_BY_HOP | FOR_US | _END_TO_END | {b"trailer", b"expect"}
    fields: Headers = cast("Any", end.headers).raw_items()  # h11 does not publish the type that has it
    return [(raw, value) for raw, value in fields if raw.lower() not in kept]


def answer(refusal: Refusal, *, with_body: bool = True) -> bytes:
    """A refusal as an HTTP response that ends the connection."""
    body = f"{refusal.code} ({refusal.layer}): {refusal.text}\n".encode()
    try:
        reason = HTTPStatus(refusal.status).phrase
    except ValueError:
        reason = "Refused"
    lines = (
        f"HTTP/1.1 {refusal.status} {reason}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        f'Proxy-Status: nymgate; error={refusal.proxy_error}; details="{refusal.code}"',
        "Cache-Control: no-store",
        "Connection: close",
        *((_CHALLENGE,) if refusal.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED else ()),
    )
    head = "\r\n".join(lines).encode("ascii", "replace") + b"\r\n\r\n"
    return head + body if with_body else head
