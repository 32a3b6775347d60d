"""Where applications connect to, and what one connection may take."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from nymgate.sections.types import (
    SIZE_FORM,
    BoundedDuration,
    Duration,
    Section,
    Size,
    duration_setting,
    finite,
    setting,
    split_address,
    unix_path,
)
from nymgate.units import format_size, split_host_port

DEFAULT_SOCKS_PORT: Final = 1080
DEFAULT_METRICS_PORT: Final = 9470
DEFAULT_WEB_PORT: Final = 9471
NO_RESOLVER: Final = "none"


def _tcp_or_none(text: str) -> str:
    if text:
        split_address(text)
    return text


def _resolver(text: str) -> str:
    if text not in ("", NO_RESOLVER):
        split_host_port(text)
    return text


def _anywhere(text: str) -> str:
    if unix_path(text) is None:
        split_address(text)
    return text


ProxyAddress = Annotated[str, AfterValidator(_anywhere)]
"""Of any machine, or a Unix socket; whether others may reach it is for `access` to say."""
MachineAddress = Annotated[str, AfterValidator(_tcp_or_none)]
"""Of any machine, or empty."""


class Listen(Section):
    """Where applications connect to. Addresses that other machines reach need `access` to say who may."""

    mixed: list[ProxyAddress] = setting(
        [f"127.0.0.1:{DEFAULT_SOCKS_PORT}"],
        "Addresses that take connections of applications. SOCKS4, 4a, 5 and HTTP (CONNECT and plain requests) are "
        "told apart by their first bytes. Port 0 takes any free port and the first lines of `nymgate run` name it. "
        "unix: and a path is a Unix socket.",
        'a list of addresses such as ["127.0.0.1:1080", "[::1]:1080", "unix:/run/user/1000/nymgate.sock"]',
        flag="--listen",
    )
    socks: list[ProxyAddress] = setting(
        [],
        "Addresses that take SOCKS4, 4a and 5 only. HTTP gets an answer that says so.",
        'a list of addresses such as ["127.0.0.1:1081"]',
    )
    http: list[ProxyAddress] = setting(
        [],
        "Addresses that take HTTP only, as a proxy: CONNECT and plain requests. SOCKS gets a refusal.",
        'a list of addresses such as ["127.0.0.1:8118"]',
    )
    metrics: MachineAddress = setting(
        f"127.0.0.1:{DEFAULT_METRICS_PORT}",
        "Where `/metrics` (Prometheus), `/livez` and `/readyz` are served, and nothing else. Empty: nowhere. A port "
        "that is taken is an error if it is named here; the default one is then left out with a warning. For "
        "other machines to ask, `access.allow` has to name them: users have no part in it.",
        'an address such as "127.0.0.1:9470", or empty',
    )
    web: MachineAddress = setting(
        f"127.0.0.1:{DEFAULT_WEB_PORT}",
        "Where the status page, `/proxy.pac` for browsers and, with its token, the control API are served. Empty: "
        "nowhere. A port that is taken is an error if it is named here; the default one is then left out with a "
        "warning. For other machines to see the page, `access.allow` has to name them.",
        'an address such as "127.0.0.1:9471", or empty',
    )
    web_names: list[str] = setting(
        [],
        "Names by which browsers may ask for the page, beside `localhost` and addresses. Others are refused: a site "
        "that has its own name point at this machine could read the answers otherwise (DNS rebinding).",
        'a list of host names such as ["nymgate.lan"]',
    )
    web_token_file: str = setting(
        "",
        "A file with the token of the control API, at least 16 characters. Empty: `web.token` in the data folder, made "
        "at the start for this user only. The control socket in that folder needs no token.",
        "the path of a file, or empty",
    )


class Streams(Section):
    """What one connection of an application may take."""

    early_success: bool = setting(
        False,
        "Answer success to the application before the exit has connected. Saves a round trip; refusals "
        "then end the connection and no longer say why.",
        "true or false",
    )
    connect_timeout: BoundedDuration = duration_setting(
        30.0,
        "How long it may take until a destination is connected, waking up and lost packets included.",
    )
    gap_limit: BoundedDuration = duration_setting(
        15.0,
        "How long a stream waits for a lost piece while later pieces are already here; then it ends with "
        "an error instead of standing still.",
    )
    idle_limit: BoundedDuration = duration_setting(
        300.0,
        "How long a stream stays open when nothing at all comes from the exit, not even one of the "
        "keep-alives that exits send every minute; then it ends with an error. An exit of nymgate's own is "
        "known to keep to its minute and gets two and a half of them at most.",
    )
    handshake_timeout: BoundedDuration = duration_setting(
        10.0, "How long an application may take to say where it wants to go."
    )
    keep_alive: BoundedDuration = duration_setting(
        60.0, "How long an HTTP application may keep its connection without a request."
    )
    limit: Annotated[int, Field(ge=1, le=100_000)] = setting(
        1000,
        "Streams at once. Further ones wait for their turn, see `admission`.",
        "a whole number from 1 to 100000",
    )
    resolver: Annotated[str, AfterValidator(_resolver)] = setting(
        "",
        "Whom applications' Tor RESOLVE and RESOLVE_PTR are asked from: a DNS server that speaks TCP, reached through "
        "the mixnet like any destination. Empty: the network's own, 9.9.9.9:53 on public networks. Streams need none: "
        "the exit resolves their names.",
        'host and port such as "9.9.9.9:53", "none", or empty',
    )
    buffer: Annotated[Size, Field(ge=4096, le=64 << 20)] = setting(
        128 << 10,
        "Bytes held for a stream in each direction before the faster side is made to wait.",
        SIZE_FORM + ", from 4KiB to 64MiB",
        write=format_size,
    )
    drain: Annotated[Duration, AfterValidator(finite)] = duration_setting(
        10.0, "How long open streams may go on after SIGTERM or Ctrl-C; a second signal ends them at once."
    )
