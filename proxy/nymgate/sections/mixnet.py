"""How traffic gets into the mixnet and out of it."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from nymgate.sections.types import PositiveDuration, Section, Url, duration_setting, setting

IDENTITY_BYTES: Final = 32
COUNTRY_PREFIX: Final = "country:"


def countries_of(text: str) -> tuple[str, ...] | None:
    """``country:CH,de`` → ``("CH", "DE")``; None for what is no list of countries. ValueError for a bad code."""
    if not text.startswith(COUNTRY_PREFIX):
        return None
    codes = tuple(code.strip().upper() for code in text.removeprefix(COUNTRY_PREFIX).split(","))
    if not all(len(code) == 2 and code.isascii() and code.isalpha() for code in codes):
        raise ValueError("not two-letter codes of countries")
    return tuple(dict.fromkeys(codes))


def is_identity(text: str) -> bool:
    """Whether this is the identity of a node: 32 bytes in base58."""
    from nym_sphinx import (
        b58decode,
    )  # here because loading the packet library costs more than all of this module

    try:
        return len(b58decode(text)) == IDENTITY_BYTES
    except ValueError:
        return False


def _entry(text: str) -> str:
    if text != "auto" and countries_of(text) is None and not is_identity(text):
        raise ValueError("not an identity")
    return text


def _exit(text: str) -> str:
    if text != "auto" and countries_of(text) is None and not is_identity(text):
        from nym_sphinx import Recipient

        try:
            Recipient.parse(text)
        except Exception as error:
            raise ValueError("not an address") from error
    return text


class Mixnet(Section):
    """How traffic gets into the mixnet and out of it."""

    entry: Annotated[str, AfterValidator(_entry)] = setting(
        "auto",
        "The entry gateway: it sees this machine's address and when it is awake, and is kept from start to "
        "start. "
        '"auto" picks one at the first start, better measured ones more often; "country:CH,DE" one in these '
        "countries, by what operators say of themselves.",
        '"auto", "country:" with two-letter codes such as "country:CH,DE", or the identity of a gateway (base58, see '
        "`nymgate gateways`)",
        flag="--entry",
    )
    exit: Annotated[str, AfterValidator(_exit)] = setting(
        "auto",
        "The network requester that opens the connections to the destinations and sees them. "
        '"auto" takes one that answers, better measured ones more often, never at the gateway that is the entry, and '
        "keeps it; when it falls silent or stalls, or does not permit a port, new streams use another one. "
        '"country:CH,DE" does the same among the exits of these countries, by what operators say of themselves. '
        "An exit that is named has no substitute.",
        '"auto", "country:" with two-letter codes such as "country:CH,DE", the identity of the exit\'s gateway, or the '
        "full address of a network requester (identity.encryption@gateway); see `nymgate exits`",
        flag="--exit",
    )
    exit_rotation: PositiveDuration = duration_setting(
        float("inf"),
        "After this long in use an exit is replaced by another one for new streams; old ones stay where they are. An "
        "exit can link the streams of one identity; rotation bounds how many, and lets more exits see some of them.",
        never=True,
    )
    profile: Literal["standard", "fast", "thrifty", "uncovered"] = setting(
        "standard",
        "The traffic pattern, which decides speed, cost and what an observer of this machine learns; "
        "`nymgate run` prints the cost of the one in use.",
        "standard, fast, thrifty or uncovered",
        flag="--profile",
    )
    sleep_after: PositiveDuration = duration_setting(
        600.0,
        "After this long without open streams all sending stops, cover traffic included, until the next "
        "stream: no traffic, no cost. An observer of this machine then learns when it is in use, as from "
        "switching it on and "
        'off. "never" keeps cover traffic (and its cost) going day and night.',
        never=True,
    )
    surb_bank: Annotated[int, Field(ge=0, le=10_000)] = setting(
        1000,
        "Reply packets that the exit is given ahead of need, in slots that would have been cover: what makes "
        "downloads fast without changing the send pattern. 0 turns it off.",
        "a whole number from 0 to 10000",
    )
    data_in_cover_slots: bool = setting(
        False,
        "Also use the slots of the loop cover stream for data when there is some: about a tenth more "
        "upload, but then fewer of this client's own packets come back to it, which an observer of both "
        "ends can count.",
        "true or false",
    )
    replies: Literal["anonymous", "own-address"] = setting(
        "anonymous",
        "How the exit answers. With anonymous replies it never learns this client's mixnet address. With "
        "own-address it does, and can link everything this client ever does until its keys change; answers "
        "then need no reply packets.",
        "anonymous or own-address",
    )
    topology_file: str = setting(
        "",
        "A network.json with the nodes of the network, to use instead of asking a nym-api.",
        "the path of a file, or empty",
        flag="--topology-file",
    )
    nym_api: list[Url] = setting(
        [],
        "Base URLs of nym-api servers, tried in order; they replace those of the network.",
        'a list of URLs such as ["https://validator.nymtech.net/api/"]',
        flag="--nym-api",
    )
