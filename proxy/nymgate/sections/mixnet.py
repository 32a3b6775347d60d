"""How traffic gets into the mixnet and out of it."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from nymgate.sections.types import PositiveDuration, Section, Url, duration_setting, setting

IDENTITY_BYTES: Final = 32


def _entry(text: str) -> str:
    if text != "auto":
        _identity(text)
    return text


def _identity(text: str) -> bytes:
    from nym_sphinx import (
        b58decode,
    )  # here because loading the packet library costs more than all of this module

    identity = b58decode(text)
    if len(identity) != IDENTITY_BYTES:
        raise ValueError("not 32 bytes")
    return identity


def _exit(text: str) -> str:
    if text != "auto":
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
        '"auto" picks one at the first start.',
        '"auto" or the identity of a gateway (base58, see `nymgate gateways`)',
        flag="--entry",
    )
    exit: Annotated[str, AfterValidator(_exit)] = setting(
        "auto",
        "The network requester that opens the connections to the destinations and sees them. "
        '"auto" takes one that answers, never at the gateway that is the entry.',
        '"auto" or the full address of a network requester (identity.encryption@gateway)',
        flag="--exit",
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
