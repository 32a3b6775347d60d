"""Who may use the proxy, where to, and how much of it at once."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nymgate.access.judge import parse_networks
from nymgate.access.rules import parse_pattern
from nymgate.sections.types import BoundedDuration, Section, duration_setting, setting

MAX_STREAMS = 100_000


def _network(text: str) -> str:
    parse_networks([text])
    return text


def _pattern(text: str) -> str:
    parse_pattern(text)
    return text


def _mode(text: str) -> str:
    if not (len(text) in (3, 4) and all(digit in "01234567" for digit in text)):
        raise ValueError("not a mode")
    return text


NetworkText = Annotated[str, AfterValidator(_network)]
PatternText = Annotated[str, AfterValidator(_pattern)]
PATTERNS_FORM = (
    'a list of names, networks and ports such as ["example.com", "*.example.org:443", "192.0.2.0/24"]'
)


class Access(Section):
    """Who may use the proxy. Needed before it may listen where other machines reach it."""

    users_file: str = setting(
        "",
        "A file with the users, written by `nymgate users add`. With it every application has to log in: SOCKS5 with "
        "user name and password, HTTP with Proxy-Authorization: Basic; SOCKS4 cannot. What follows a + in the user "
        "name is a token of isolation: alice+mail and alice+shop are both alice, over different mixnet identities. "
        "Without it any user name and password is taken, as a token of isolation.",
        "the path of a file, or empty",
    )
    allow: list[NetworkText] = setting(
        [],
        "Addresses that applications may have. Empty: this machine's own only, or with a users file any. Listening "
        "beyond loopback is refused unless there is a users file, or this names networks narrower than everything. "
        "Unix sockets have no address: who may use them is for the file system to say.",
        'a list of networks such as ["127.0.0.0/8", "192.168.1.0/24", "fd00::/8"]',
    )
    unix_mode: Annotated[str, AfterValidator(_mode)] = setting(
        "0600", "Permissions of Unix sockets that this proxy makes.", "an octal mode such as 0600 or 0660"
    )


class Rules(Section):
    """Where streams may go. What is refused here goes nowhere (E_DESTINATION_RULE)."""

    allow: list[PatternText] = setting(
        [],
        "Destinations that are allowed; empty: all that are not denied. `example.com` is that name, `*.example.com` "
        "all below it, `.example.com` both, `*` everything; a network takes in every spelling of its addresses. Ports "
        "follow a colon: `*:80,443,8000-8999`. A name is judged as a name: what it resolves to, only the exit knows.",
        PATTERNS_FORM,
    )
    deny: list[PatternText] = setting(
        [], "Destinations that are refused, whatever `allow` says. Written in the same way.", PATTERNS_FORM
    )
    private: Literal["auto", "refuse", "allow"] = setting(
        "auto",
        "Private, loopback and link-local addresses, and names that exist in a house only (localhost, *.local, "
        "*.internal, names without a dot): at an exit they are the exit's own neighbours. refuse refuses them, but for "
        "those that `allow` names; auto does that, unless the network is one on this machine's loopback, where "
        "everything is private.",
        "auto, refuse or allow",
    )


class Admission(Section):
    """How many streams at once, beside `streams.limit`, and who waits. Where a limit is reached a stream waits for its
    turn: callers take turns, so that one with many does not hold up one with few."""

    per_caller: Annotated[int, Field(ge=0, le=MAX_STREAMS)] = setting(
        500,
        "Streams at once of one user, or without users of one client address. 0: no limit of its own. The users file "
        "can say something else for a user.",
        "a whole number from 0 to 100000",
    )
    per_destination: Annotated[int, Field(ge=0, le=MAX_STREAMS)] = setting(
        250, "Streams at once to one host. 0: no limit of its own.", "a whole number from 0 to 100000"
    )
    queue: Annotated[int, Field(ge=0, le=MAX_STREAMS)] = setting(
        256,
        "Streams of one caller that wait; further ones are refused at once (E_ADMISSION). 0: none waits.",
        "a whole number from 0 to 100000",
    )
    queue_timeout: BoundedDuration = duration_setting(
        20.0, "How long a stream waits for its turn; then it is refused (E_ADMISSION)."
    )
