"""What an application is told when it gets no stream: one table.

The same identifier is SOCKS5 reply, HTTP status, RFC 9209 error type, word in the log and line of
``docs/reference/refusals.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nym_credentials.topup.hindrances import WORDS, Hindrance
from nymgate.errors import Reply, StreamRefused


@dataclass(frozen=True, slots=True)
class Refusal:
    """What applications are told in each protocol when there is no stream, or no longer one."""

    code: str
    layer: str
    reply: Reply
    """SOCKS5. SOCKS4 has only one word for all of them, 0x5B."""
    status: int
    """HTTP."""
    proxy_error: str
    """Error type of the ``Proxy-Status`` header, RFC 9209 §2.3."""
    text: str
    """When this happens; used where the error itself brings no sentence."""


def _table(*rows: Refusal) -> Mapping[str, Refusal]:
    return {row.code: row for row in rows}


OWNERS: Final = frozenset(
    {
        Hindrance.DAY_CAP,
        Hindrance.MONTH_CAP,
        Hindrance.DEPOSIT_CAP,
        Hindrance.PRICE,
        Hindrance.RESERVE,
        Hindrance.FUNDS,
        Hindrance.WALLET,
    }
)
"""What keeps tickets from being bought that the owner of the account mends, sooner than time does if it does at all."""

_R = Reply
REFUSALS: Final = _table(
    # What the application asked for.
    Refusal(
        "E_UNKNOWN_PROTOCOL",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "The first byte belongs to no protocol that this port speaks.",
    ),
    Refusal(
        "E_TLS",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "This is TLS, and the port takes proxy requests: set the proxy as http:// or socks5h://, not as https://.",
    ),
    Refusal(
        "E_NOT_SOCKS",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "This port speaks SOCKS only. Set it as SOCKS host, with names resolved by the proxy: "
        "curl --socks5-hostname, ALL_PROXY=socks5h://...",
    ),
    Refusal(
        "E_NOT_HTTP",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "This port is an HTTP proxy only; there is another one for SOCKS.",
    ),
    Refusal(
        "E_SOCKS_SYNTAX",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "The bytes do not follow the SOCKS protocol.",
    ),
    Refusal(
        "E_SOCKS_METHOD",
        "proxy",
        _R.NOT_ALLOWED,
        407,
        "http_request_denied",
        "The application offers no way to authenticate that is taken here (SOCKS5 answers 0xFF to its offer).",
    ),
    Refusal(
        "E_AUTH_REQUIRED",
        "proxy",
        _R.NOT_ALLOWED,
        407,
        "http_request_denied",
        "This proxy serves the users of its users file only: give a user name and a password (SOCKS5 answers 0xFF to "
        "an offer without them; SOCKS4 has no place for a password).",
    ),
    Refusal(
        "E_AUTH_FAILED",
        "proxy",
        _R.NOT_ALLOWED,
        407,
        "http_request_denied",
        "There is no such user, or the password is another one (SOCKS5 answers 0x01 to the login).",
    ),
    Refusal(
        "E_AUTH_SLOW",
        "proxy",
        _R.NOT_ALLOWED,
        429,
        "http_request_denied",
        "Too many wrong passwords were tried: no more are looked at for the moment. Who was let in before still is.",
    ),
    Refusal(
        "E_ACCESS",
        "proxy",
        _R.NOT_ALLOWED,
        403,
        "http_request_denied",
        "Applications at this address may not use the proxy: [access] allow does not have it.",
    ),
    Refusal(
        "E_SOCKS_COMMAND",
        "proxy",
        _R.COMMAND_NOT_SUPPORTED,
        501,
        "http_request_denied",
        "SOCKS commands other than CONNECT are not supported: BIND and UDP ASSOCIATE need an exit that listens or "
        "carries datagrams, and the exit carries TCP connections only.",
    ),
    Refusal(
        "E_SOCKS_RESOLVE",
        "proxy",
        _R.COMMAND_NOT_SUPPORTED,
        501,
        "http_request_denied",
        "Tor's RESOLVE and RESOLVE_PTR ask a resolver through the mixnet, and streams.resolver is none: connect by "
        "name, the exit resolves it.",
    ),
    Refusal(
        "E_SOCKS_ADDRESS",
        "proxy",
        _R.ADDRESS_TYPE_NOT_SUPPORTED,
        400,
        "http_request_error",
        "The address type is not IPv4, IPv6 or a name.",
    ),
    Refusal(
        "E_HTTP_SYNTAX",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "The bytes do not follow HTTP/1.1. Set this proxy in a program that speaks it, or as its SOCKS host.",
    ),
    Refusal(
        "E_HTTP_FRAMING",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "Where the body of the request ends can be read in two ways, as in request smuggling.",
    ),
    Refusal(
        "E_HTTP_CODING",
        "proxy",
        _R.GENERAL_FAILURE,
        501,
        "http_request_error",
        "The request uses a transfer coding other than chunked.",
    ),
    Refusal(
        "E_HTTP_TOO_LARGE",
        "proxy",
        _R.GENERAL_FAILURE,
        431,
        "http_request_error",
        "The head of the request is larger than 32 KiB. Ask with a shorter URL, or fewer headers and cookies.",
    ),
    Refusal(
        "E_HTTP_NOT_PROXIED",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "This is a proxy and no web site: set it as HTTP proxy (curl --proxy, HTTPS_PROXY=http://...) or as SOCKS "
        "host of the application.",
    ),
    Refusal(
        "E_HTTP_SCHEME",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "Only http:// URLs can be asked for in plain requests; for all others the application has to use CONNECT.",
    ),
    Refusal(
        "E_HTTP_EXPECT",
        "proxy",
        _R.GENERAL_FAILURE,
        417,
        "http_request_error",
        "The request expects something other than 100-continue.",
    ),
    Refusal(
        "E_HTTP_MAX_FORWARDS",
        "proxy",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "The request may not go further than this proxy (Max-Forwards: 0), which answers none itself.",
    ),
    Refusal(
        "E_BAD_TARGET",
        "target",
        _R.GENERAL_FAILURE,
        400,
        "http_request_error",
        "The destination is not a host and a port that can be connected to. Ask for host:port, as example.com:443; the "
        "port is 1 to 65535.",
    ),
    # What this proxy has.
    Refusal(
        "E_ADMISSION",
        "proxy",
        _R.GENERAL_FAILURE,
        503,
        "connection_limit_reached",
        "As many streams are open as [streams] limit or [admission] allows for all, for the caller or for the "
        "destination, and none of them ended while this one waited in the queue.",
    ),
    Refusal(
        "E_QUOTA",
        "proxy",
        _R.NOT_ALLOWED,
        429,
        "http_request_denied",
        "The user has used up the bytes of this day or month.",
    ),
    Refusal(
        "E_DESTINATION_RULE",
        "proxy",
        _R.NOT_ALLOWED,
        403,
        "destination_ip_prohibited",
        "The rules of this proxy do not allow the destination: it is denied, not on the list of those allowed, or a "
        "private place. Nothing goes there, by no other way either.",
    ),
    Refusal(
        "E_ISOLATION_LIMIT",
        "proxy",
        _R.GENERAL_FAILURE,
        503,
        "connection_limit_reached",
        "The stream asks for a mixnet identity of its own, and all that [isolation] max_identities allows have "
        "streams; close some or raise the limit.",
    ),
    Refusal(
        "E_TOO_MANY_STREAMS",
        "exit",
        _R.GENERAL_FAILURE,
        503,
        "connection_limit_reached",
        "The client of the exit carries as many streams as it may.",
    ),
    Refusal(
        "E_INTERNAL",
        "proxy",
        _R.GENERAL_FAILURE,
        502,
        "proxy_internal_error",
        "A bug: the log has more, please report it.",
    ),
    # The way to the exit.
    Refusal(
        "E_NO_WAY",
        "mixnet",
        _R.NETWORK_UNREACHABLE,
        503,
        "destination_unavailable",
        "There is no way into the mixnet yet or any more; the layer that is missing is named in place of mixnet.",
    ),
    Refusal(
        "E_GATEWAY",
        "gateway",
        _R.NETWORK_UNREACHABLE,
        503,
        "destination_unavailable",
        "The entry gateway cannot be reached at the moment.",
    ),
    Refusal(
        "E_OUT_OF_BANDWIDTH",
        "tickets",
        _R.GENERAL_FAILURE,
        503,
        "destination_unavailable",
        "The allowance at the entry gateway is used up and there is no ticket.",
    ),
    # What pays for it. 402: only the owner of the account can mend it; 503: it mends itself.
    Refusal(
        "E_TICKETS_COMING",
        "tickets",
        _R.GENERAL_FAILURE,
        503,
        "destination_unavailable",
        "There is no ticket, and a ticketbook is being bought.",
    ),
    Refusal(
        "E_OUT_OF_TICKETS",
        "tickets",
        _R.GENERAL_FAILURE,
        402,
        "destination_unavailable",
        "There is no ticket, and none is bought by itself.",
    ),
    Refusal(
        "E_NO_ACCOUNT",
        "wallet",
        _R.GENERAL_FAILURE,
        402,
        "destination_unavailable",
        "There is no ticket, and no account is set that could buy any.",
    ),
    *(
        Refusal(
            hindrance.value,
            words.layer,
            _R.GENERAL_FAILURE,
            402 if hindrance in OWNERS else 503,
            "destination_unavailable",
            f"There is no ticket. {words.happened}",
        )
        for hindrance, words in WORDS.items()
        if hindrance is not Hindrance.INTERNAL
    ),
    Refusal(
        "E_TOP_UP",
        "tickets",
        _R.GENERAL_FAILURE,
        503,
        "destination_unavailable",
        "There is no ticket. Topping up failed in an unforeseen way; the log has more.",
    ),
    Refusal(
        "E_MIXNET",
        "mixnet",
        _R.NETWORK_UNREACHABLE,
        503,
        "destination_unavailable",
        "The mixnet client cannot send; the layer that is missing is named in place of mixnet.",
    ),
    # The exit and the destination.
    Refusal(
        "E_EXIT_POLICY",
        "exit",
        _R.NOT_ALLOWED,
        403,
        "destination_ip_prohibited",
        "The exit's policy does not allow the address or port, or the name does not resolve there: the exit "
        "protocol has one answer for both.",
    ),
    Refusal(
        "E_NO_ADDRESS",
        "target",
        _R.HOST_UNREACHABLE,
        502,
        "dns_error",
        "A name that was to be looked up has no address, or an address no name.",
    ),
    Refusal(
        "E_RESOLVER",
        "target",
        _R.GENERAL_FAILURE,
        502,
        "dns_error",
        "The resolver that streams.resolver names gave no answer that makes sense.",
    ),
    Refusal(
        "E_EXIT_SILENT",
        "exit",
        _R.TTL_EXPIRED,
        504,
        "connection_timeout",
        "The exit did not answer in time.",
    ),
    Refusal(
        "E_NO_EXIT",
        "exit",
        _R.NETWORK_UNREACHABLE,
        503,
        "destination_unavailable",
        "No exit is left: none of those that the directory lists and the configuration allows answers. They are "
        "tried again by themselves.",
    ),
    Refusal(
        "E_TARGET_SILENT",
        "target",
        _R.HOST_UNREACHABLE,
        504,
        "connection_timeout",
        "The destination did not answer the exit in time; the exit itself is well.",
    ),
    Refusal(
        "E_TARGET_CONNECT",
        "target",
        _R.CONNECTION_REFUSED,
        502,
        "connection_refused",
        "The exit could not connect to the destination: refused or unreachable.",
    ),
    Refusal(
        "E_TARGET_HTTP",
        "target",
        _R.GENERAL_FAILURE,
        502,
        "http_protocol_error",
        "The destination's answer does not follow HTTP/1.1.",
    ),
    Refusal(
        "E_TARGET_CLOSED",
        "target",
        _R.GENERAL_FAILURE,
        502,
        "http_response_incomplete",
        "The destination closed the connection before it had answered.",
    ),
    # Streams that were up. Where an answer has begun, the connection is reset instead.
    Refusal(
        "E_STREAM_GAP",
        "mixnet",
        _R.GENERAL_FAILURE,
        502,
        "connection_terminated",
        "A piece of the stream never came.",
    ),
    Refusal(
        "E_STREAM_LOST",
        "mixnet",
        _R.GENERAL_FAILURE,
        502,
        "connection_terminated",
        "A packet of the stream was never acknowledged.",
    ),
    Refusal(
        "E_STREAM_IDLE",
        "exit",
        _R.GENERAL_FAILURE,
        502,
        "connection_terminated",
        "The exit has not given a sign of life for the idle limit.",
    ),
    Refusal(
        "E_EXIT_STALLED",
        "exit",
        _R.GENERAL_FAILURE,
        502,
        "connection_terminated",
        "The exit has missed its keep-alives, or answers nothing at all any more.",
    ),
    Refusal(
        "E_STREAM_RESET",
        "target",
        _R.GENERAL_FAILURE,
        502,
        "connection_terminated",
        "The connection between exit and destination broke off.",
    ),
    Refusal(
        "E_STREAM_OVERFLOW",
        "exit",
        _R.GENERAL_FAILURE,
        502,
        "connection_terminated",
        "More arrived than the application read.",
    ),
)
"""Every refusal by its identifier, in the order of the documentation."""


def refusal_of(error: Exception) -> Refusal | None:
    """What an application is told about an error of the upstream; None for one that is a bug.

    Code and layer are the error's own. One that the table does not know says itself what it maps to.
    """
    code, layer = getattr(error, "code", None), getattr(error, "layer", None)
    if not isinstance(code, str) or not isinstance(layer, str):
        return None
    known = REFUSALS.get(code, REFUSALS["E_INTERNAL"])
    try:
        reply = Reply(getattr(error, "socks_reply", known.reply))
    except ValueError:
        reply = Reply.GENERAL_FAILURE
    status = getattr(error, "http_status", known.status)
    return Refusal(code, layer, reply, status, known.proxy_error, str(error))


def refusals_page() -> str:
    """The reference page of the table."""
    lines = [
        "# Refusals",
        "",
        "<!-- Written by `make reference` from the table in proxy/nymgate/refusals.py. -->",
        "",
        "What an application is told when it gets no stream. The identifier is the same in the log, in the body of",
        "an HTTP answer (`identifier (layer): sentence`) and in its `Proxy-Status` header (RFC 9209). SOCKS4 and",
        "4a answer 0x5B to everything. SOCKS5 has no place for the identifier: look into the log.",
        "",
        "| identifier | layer | SOCKS5 | HTTP | `Proxy-Status` error | when |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row.code}` | {row.layer} | 0x{row.reply:02X} | {row.status} | {row.proxy_error} | {row.text} |"
        for row in REFUSALS.values()
    ]
    return "\n".join(lines) + "\n"


def as_error(code: str, what: str = "", todo: str = "") -> StreamRefused:
    """A refusal of the table as an error; ``what`` is for where there is more to say."""
    row = REFUSALS[code]
    return StreamRefused(what or row.text, todo, code=code, layer=row.layer, socks_reply=row.reply)
